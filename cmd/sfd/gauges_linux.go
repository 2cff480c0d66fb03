package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/api"
	"github.com/shakenfist/cloud/sf/spec"
)

// gauges are the original's measurements of this host under its names, taken when they
// are asked for.
type gauges struct {
	dir        string // the data directory, on whose disk everything is
	hypervisor driver.Hypervisor
	cloud      *sf.Cloud

	mu    sync.Mutex
	sizes map[string]size // of instances that were asked for; they never change
}

type size struct{ cpus, memory int } // memory in MiB

// gaugeTime is how long machines may take to be asked.
const gaugeTime = 2 * time.Second

// all returns the measurements. What cannot be had is left out.
func (g *gauges) all() []api.Gauge {
	list := append(loadavg(read("/proc/loadavg")), meminfo(read("/proc/meminfo"))...)
	list = append(list, diskSpace(g.dir)...)
	list = append(list, diskstats(read("/proc/diskstats"), wholeDisk)...)
	list = append(list, netdev(read("/proc/net/dev"))...)
	list = append(list, ksm("/sys/kernel/mm/ksm")...)
	ctx, cancel := context.WithTimeout(context.Background(), gaugeTime)
	defer cancel()
	list = append(list, g.machines(ctx)...)
	return append(list, api.Gauge{Name: "updated_at", Help: "seconds since 1970", Value: float64(time.Now().Unix())})
}

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

func loadavg(text string) (list []api.Gauge) {
	for i, field := range strings.Fields(text) {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil || i > 2 {
			break
		}
		list = append(list, api.Gauge{Name: "cpu_load_" + []string{"1", "5", "15"}[i], Help: "load of the host, over so many minutes", Value: v})
	}
	return list
}

// meminfo reads /proc/meminfo; MiB.
func meminfo(text string) []api.Gauge {
	kib := map[string]float64{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 2 {
			kib[strings.TrimSuffix(f[0], ":")], _ = strconv.ParseFloat(f[1], 64)
		}
	}
	if kib["MemTotal"] == 0 {
		return nil
	}
	return []api.Gauge{
		{Name: "memory_max", Help: "MiB of the host", Value: kib["MemTotal"] / 1024},
		{Name: "memory_available", Help: "MiB of the host that programs could have", Value: kib["MemAvailable"] / 1024},
		{Name: "memory_max_libvirt", Help: "the same as memory_max", Value: kib["MemTotal"] / 1024},
		{Name: "memory_available_libvirt", Help: "MiB of the host that are free", Value: kib["MemFree"] / 1024},
	}
}

// diskSpace measures the file system of a directory; bytes.
func diskSpace(dir string) []api.Gauge {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return nil
	}
	size := float64(s.Bsize)
	return []api.Gauge{
		{Name: "disk_total", Help: "bytes of the data directory's file system", Value: float64(s.Blocks) * size},
		{Name: "disk_free", Help: "bytes of it that are free", Value: float64(s.Bavail) * size},
		{Name: "disk_used", Help: "bytes of it that are used", Value: float64(s.Blocks-s.Bfree) * size},
	}
}

// wholeDisk reports whether a block device is a disk and no part of one.
func wholeDisk(name string) bool {
	_, err := os.Stat(filepath.Join("/sys/block", name, "device"))
	return err == nil
}

// diskstats reads /proc/diskstats, whose sectors have 512 bytes whatever the disk.
func diskstats(text string, whole func(string) bool) []api.Gauge {
	const sector = 512
	var in, out float64
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 9 && whole(f[2]) {
			in, out = in+number(f[5])*sector, out+number(f[9])*sector
		}
	}
	return []api.Gauge{
		{Name: "disk_read_bytes", Help: "read from the host's disks since it was started", Value: in},
		{Name: "disk_write_bytes", Help: "written to the host's disks since it was started", Value: out},
	}
}

// netdev reads /proc/net/dev.
func netdev(text string) []api.Gauge {
	var in, out float64
	for line := range strings.Lines(text) {
		_, counters, ok := strings.Cut(line, ":")
		if f := strings.Fields(counters); ok && len(f) > 8 {
			in, out = in+number(f[0]), out+number(f[8])
		}
	}
	return []api.Gauge{
		{Name: "network_read_bytes", Help: "received by the host's network devices since it was started", Value: in},
		{Name: "network_write_bytes", Help: "sent by the host's network devices since it was started", Value: out},
	}
}

func number(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64)
	return v
}

// ksm is what the kernel says of pages that are shared.
func ksm(dir string) (list []api.Gauge) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		text := bytes.TrimSpace([]byte(read(filepath.Join(dir, e.Name()))))
		if v, err := strconv.ParseFloat(string(text), 64); err == nil {
			list = append(list, api.Gauge{Name: "memory_ksm_" + e.Name(), Help: "of the kernel's samepage merging", Value: v})
		}
	}
	return list
}

// machines measures what runs here.
func (g *gauges) machines(ctx context.Context) []api.Gauge {
	cpus := float64(runtime.NumCPU())
	list := []api.Gauge{
		{Name: "cpu_max", Help: "CPUs of the host", Value: cpus},
		{Name: "cpu_available", Help: "the same as cpu_max", Value: cpus},
		{Name: "cpu_max_per_instance", Help: "virtual CPUs that an instance may ask for", Value: spec.MaxCPUs},
	}
	all, err := g.hypervisor.List(ctx)
	if err != nil {
		return list
	}
	stater, measured := driver.As[driver.Stater](g.hypervisor)
	var active, vcpus, most, now, spent float64
	for _, m := range all {
		if !m.State.On() {
			continue
		}
		active++
		s := g.size(ctx, m.ID)
		vcpus, most = vcpus+float64(s.cpus), most+float64(s.memory)
		if !measured {
			continue
		}
		if used, err := stater.Stats(ctx, m.ID); err == nil {
			spent, now = spent+float64(used.CPUNanoseconds), now+float64(used.MemoryBytes>>20)
		}
	}
	return append(list,
		api.Gauge{Name: "instances_total", Help: "machines here", Value: float64(len(all))},
		api.Gauge{Name: "instances_active", Help: "machines here that are on", Value: active},
		api.Gauge{Name: "cpu_total_instance_vcpus", Help: "virtual CPUs of machines that are on", Value: vcpus},
		api.Gauge{Name: "cpu_total_instance_cpu_time", Help: "nanoseconds of CPU that they have used", Value: spent},
		api.Gauge{Name: "memory_total_instance_max", Help: "MiB that they may use", Value: most},
		api.Gauge{Name: "memory_total_instance_actual", Help: "MiB that they use", Value: now},
	)
}

// size is what an instance was given; nothing where that cannot be known now.
func (g *gauges) size(ctx context.Context, id string) size {
	g.mu.Lock()
	s, ok := g.sizes[id]
	g.mu.Unlock()
	if ok {
		return s
	}
	i, err := g.cloud.Instance(ctx, id)
	if err != nil {
		return size{}
	}
	s = size{i.CPUs, i.MemoryMiB}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.sizes) > 10_000 { // of machines that are long gone
		clear(g.sizes)
	}
	g.sizes[id] = s
	return s
}
