package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/api"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// originals are the names of the original's gauges, but for those of KSM.
const originals = `cpu_max cpu_available cpu_max_per_instance cpu_load_1 cpu_load_5 cpu_load_15 memory_max memory_available memory_max_libvirt
	memory_available_libvirt disk_total disk_free disk_used disk_read_bytes disk_write_bytes network_read_bytes network_write_bytes
	cpu_total_instance_vcpus cpu_total_instance_cpu_time memory_total_instance_max memory_total_instance_actual instances_total
	instances_active updated_at`

// TestGauges measures this host and a simulated machine.
func TestGauges(t *testing.T) {
	cloud, ctx := sftest.New(t), sftest.Context(t)
	i, err := cloud.CreateInstance(ctx, sf.System, spec.InstanceSpec{Name: "vm1", CPUs: 3, MemoryMiB: 256, Disks: []spec.Disk{{SizeGB: 1, Base: "cirros"}}})
	if err == nil {
		_, err = cloud.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
	}
	if err != nil {
		t.Fatal(err)
	}
	g := gauges{dir: t.TempDir(), hypervisor: cloud.Host.Hypervisor(), cloud: cloud.Cloud, sizes: map[string]size{}}
	for range 2 { // the second time the size is known
		values := map[string]float64{}
		for _, v := range g.all() {
			if _, twice := values[v.Name]; twice || v.Help == "" {
				t.Errorf("%s: twice %v, help %q", v.Name, twice, v.Help)
			}
			values[v.Name] = v.Value
		}
		for name := range strings.FieldsSeq(originals) {
			if _, ok := values[name]; !ok {
				t.Errorf("%s is missing", name)
			}
		}
		if values["instances_active"] != 1 || values["cpu_total_instance_vcpus"] != 3 || values["memory_total_instance_max"] != 256 ||
			values["disk_total"] < values["disk_free"] || values["memory_max"] < values["memory_available"] || values["memory_max"] == 0 {
			t.Errorf("%v", values)
		}
	}
}

// TestReadings reads texts of the kernel.
func TestReadings(t *testing.T) {
	for _, test := range []struct {
		name, want string
		got        []api.Gauge
	}{
		{"loadavg", "cpu_load_1 0.5 cpu_load_5 1.25 cpu_load_15 2", loadavg("0.50 1.25 2.00 3/456 789\n")},
		{"nothing", "", append(loadavg(""), meminfo("")...)},
		{"meminfo", "memory_max 2048 memory_available 1024 memory_max_libvirt 2048 memory_available_libvirt 512",
			meminfo("MemTotal:        2097152 kB\nMemFree:          524288 kB\nMemAvailable:    1048576 kB\nHugePages_Total:       0\n")},
		{"diskstats", "disk_read_bytes 1024 disk_write_bytes 2048", diskstats(
			"   8       0 sda 10 0 2 5 20 0 4 6 0 7 8\n   8       1 sda1 10 0 2 5 20 0 4 6 0 7 8\n", func(name string) bool { return name == "sda" })},
		{"net", "network_read_bytes 300 network_write_bytes 30", netdev(
			"Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n" +
				"    lo:     100       1    0    0    0     0          0         0      10       1    0    0    0     0       0          0\n" +
				"  eth0:     200       1    0    0    0     0          0         0      20       1    0    0    0     0       0          0\n")},
	} {
		var got []string
		for _, g := range test.got {
			got = append(got, g.Name, strconv.FormatFloat(g.Value, 'g', -1, 64))
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: %s, want %s", test.name, text, test.want)
		}
	}
}

// TestMetricsPort asks nobody for a token.
func TestMetricsPort(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := defaults()
	c.metricsPort = free.Addr().(*net.TCPAddr).Port
	handler := api.Metrics(api.New(sftest.New(t).Cloud, api.Config{}))

	if _, err := serveMetrics(t.Context(), c, handler, discard); err == nil || !strings.Contains(err.Error(), "port 0 for nowhere") {
		t.Errorf("a port that is taken: %v", err)
	}
	free.Close()
	stop, err := serveMetrics(t.Context(), c, handler, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for path, want := range map[string]int{"/": 200, "/metrics": 200, "/instances": 404} {
		w, err := http.Get("http://" + free.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(w.Body)
		w.Body.Close()
		if w.StatusCode != want || want == 200 && !strings.Contains(string(text), "sf_queue_keys") {
			t.Errorf("%s: %d %s", path, w.StatusCode, text)
		}
	}
	c.metricsAddress = netip.MustParseAddr("192.0.2.1")
	if _, err := serveMetrics(t.Context(), c, handler, discard); err == nil || !strings.Contains(err.Error(), "--metrics-address") {
		t.Errorf("not our address: %v", err)
	}
	c.metricsPort = 0
	if stop, err := serveMetrics(t.Context(), c, handler, discard); err != nil {
		t.Error(err)
	} else {
		stop()
	}
}

// TestMetricsPortIsTaken holds that the usual port, which nobody asked for, is no reason
// not to start. It may be taken already; all is well then, too.
func TestMetricsPortIsTaken(t *testing.T) {
	c := defaults()
	if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(c.metricsPort)); err == nil {
		defer l.Close()
	}
	var log bytes.Buffer
	stop, err := serveMetrics(t.Context(), c, http.NotFoundHandler(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "--metrics-port chooses another") {
		t.Fatalf("%v, log %s", err, &log)
	}
	stop()
}
