package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/api"
	"github.com/shakenfist/cloud/store/memory"
)

// instances that the loaded API has.
const instances = 1000

// serve runs a simulated cloud of many instances with its API on loopback,
// prints where, and ends with its standard input.
func serve(out io.Writer) error {
	ctx := context.Background()
	host := fake.NewHost(fake.Config{Now: time.Now})
	cloud, err := sf.Open(ctx, sf.Config{Store: memory.New(memory.Config{}), Node: &sf.NodeConfig{
		Name: "node1", Hypervisor: host.Hypervisor(), Volumes: host.Volumes(), Fabric: fabric.New(fabric.Config{Tag: "bench"}),
		CPUOvercommit: 1000, MemoryOvercommit: 1000, MaxInstances: instances,
	}})
	if err != nil {
		return err
	}
	if err := cloud.SetKey(ctx, sf.System, "bench", "bench"); err != nil {
		return err
	}
	var id string
	for k := range instances {
		i, err := cloud.CreateInstance(ctx, sf.System, sf.InstanceSpec{
			Name: fmt.Sprintf("i%d", k), CPUs: 1, MemoryMiB: 64, Disks: []sf.Disk{{SizeGB: 1, Base: "http://images/a"}},
		})
		if err != nil {
			return err
		}
		if _, err := cloud.WaitInstance(ctx, i.UUID, sf.InstanceCreated); err != nil {
			return err
		}
		id = i.UUID
	}
	server := httptest.NewServer(api.New(cloud, api.Config{}))
	fmt.Fprintln(out, server.Listener.Addr(), id)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// load measures requests/s of the API on one core, with the load on another: per
// second of processor time that the server used, which is less than passed where
// something else runs on its core, or the load does not keep up.
func load(self string) (figures []figure, err error) {
	cmd := exec.Command(self, "-mode", modeServe)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer cmd.Wait()
	defer in.Close()
	if err := pin(cmd.Process.Pid, 0); err != nil {
		return nil, err
	}
	var address, id string
	if _, err := fmt.Fscan(out, &address, &id); err != nil {
		return nil, fmt.Errorf("the loaded server: %w", err)
	}
	d := &daemon{url: "http://" + address}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := d.call("POST", "/auth", map[string]any{"namespace": sf.System, "key": "bench"}, &answer); err != nil {
		return nil, err
	}
	for _, c := range []struct{ name, path string }{{"get-instance", "/instances/" + id}, {"list-1000", "/instances"}} {
		before, err := processorTime(cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		n, err := hammer(address, c.path, answer.AccessToken)
		if err != nil {
			return nil, err
		}
		after, err := processorTime(cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		rate := float64(n) / (after - before).Seconds()
		figures = append(figures, figure{name: "System/" + c.name, unit: "requests/s", value: rate})
	}
	return figures, nil
}

// processorTime is what a process has used so far.
func processorTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ") // behind the name
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, data)
	}
	var ticks time.Duration
	for _, f := range fields[11:13] { // user and system time, in hundredths of a second
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100, nil
}

// pin keeps a process on one processor.
func pin(pid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(pid, &set)
}

// Size of the load.
const (
	connections = 8
	hammerFor   = 3 * time.Second
)

// hammer counts the requests that a few connections get answered when each asks as
// soon as it is answered. It reads no more of an answer than it must, so as not to be
// what is measured.
func hammer(address, path, token string) (total int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	request := "GET " + path + " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	type result struct {
		n   int
		err error
	}
	results := make(chan result, connections)
	start := time.Now()
	for range connections {
		go func() {
			n, err := ask(address, request, start.Add(hammerFor))
			results <- result{n, err}
		}()
	}
	for range connections {
		r := <-results
		if r.err != nil {
			return 0, r.err
		}
		total += r.n
	}
	return total, nil
}

func ask(address, request string, until time.Time) (n int, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	for ; time.Now().Before(until); n++ {
		if _, err := io.WriteString(conn, request); err != nil {
			return n, err
		}
		if err := skipAnswer(r); err != nil {
			return n, err
		}
	}
	return n, nil
}

// skipAnswer reads one answer of status 200 past its end.
func skipAnswer(r *bufio.Reader) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "HTTP/1.1 200") {
		return fmt.Errorf("answer %q", line)
	}
	length := -1
	for line != "\r\n" {
		if line, err = r.ReadString('\n'); err != nil {
			return err
		}
		if v, ok := strings.CutPrefix(line, http.CanonicalHeaderKey("content-length")+": "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return err
			}
		}
	}
	if length >= 0 {
		_, err = r.Discard(length)
		return err
	}
	for { // chunked
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if err != nil {
			return err
		}
		if _, err := r.Discard(int(size) + 2); err != nil || size == 0 {
			return err
		}
	}
}
