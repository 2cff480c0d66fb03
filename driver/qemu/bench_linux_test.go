package qemu

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/socket"
	"github.com/shakenfist/cloud/driver/qemu/internal/qmp"
)

// benchLab is a driver with one machine defined.
func benchLab(b *testing.B) (*Hypervisor, driver.Spec) {
	b.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		b.Skip("no qemu-system-x86_64 (Debian package qemu-system-x86)")
	}
	dir := b.TempDir()
	h, err := New(b.Context(), Config{Dir: filepath.Join(dir, "registry"), Cgroup: "sf-bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	s := driver.Spec{
		ID: testID, Name: "bench", CPUs: 1, MemoryMiB: 256, Dir: filepath.Join(dir, "machine"), Video: driver.Video{Model: "none"},
		Disks: []driver.Disk{{Device: "vda", Path: filepath.Join(dir, "vda"), Format: "raw", Bus: "virtio"}},
	}
	if err := os.WriteFile(s.Disks[0].Path, make([]byte, 1<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := h.Create(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	return h, s
}

// BenchmarkStart is Start of a machine; BenchmarkStartBare the same command line
// by os/exec, greeted and told to go on: what QEMU itself costs.
func BenchmarkStart(b *testing.B) {
	h, s := benchLab(b)
	b.ResetTimer()
	for range b.N {
		do(b, h.Start(b.Context(), s.ID))
		b.StopTimer()
		do(b, h.Stop(b.Context(), s.ID, driver.Force))
		b.StartTimer()
	}
}

func BenchmarkStartBare(b *testing.B) {
	h, s := benchLab(b)
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		l, files, err := h.openAll(h.machines[s.ID].def)
		do(b, err)
		b.StartTimer()

		cmd := exec.Command(h.probed.binary, argv(l)...)
		cmd.ExtraFiles = files.files[3:]
		do(b, cmd.Start())
		conn, err := socket.Dial(b.Context(), h.reg.path(s.ID, "qmp"), h.cfg.Timeout)
		do(b, err)
		c := greet(b, conn)
		do(b, c.Execute(b.Context(), "cont", nil, nil))

		b.StopTimer()
		files.close()
		do(b, cmd.Process.Kill())
		cmd.Wait()
		c.Close()
		b.StartTimer()
	}
}

// BenchmarkDestroy is Destroy of a running machine.
func BenchmarkDestroy(b *testing.B) {
	h, s := benchLab(b)
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		do(b, h.Create(b.Context(), s))
		do(b, h.Start(b.Context(), s.ID))
		b.StartTimer()
		do(b, h.Destroy(b.Context(), s.ID))
	}
}

// BenchmarkStop is Stop by force of a running machine, which closes its files.
func BenchmarkStop(b *testing.B) {
	h, s := benchLab(b)
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		do(b, h.Start(b.Context(), s.ID))
		b.StartTimer()
		do(b, h.Stop(b.Context(), s.ID, driver.Force))
	}
}

// BenchmarkPause pauses and resumes a machine; BenchmarkPauseBare does it by the two
// commands to QEMU alone.
func BenchmarkPause(b *testing.B) {
	h, s := benchLab(b)
	do(b, h.Start(b.Context(), s.ID))
	b.Cleanup(func() { h.Destroy(context.Background(), s.ID) })
	for b.Loop() {
		do(b, h.Pause(b.Context(), s.ID))
		do(b, h.Resume(b.Context(), s.ID))
	}
}

func BenchmarkPauseBare(b *testing.B) {
	h, s := benchLab(b)
	c, _ := bare(b, h, s)
	for b.Loop() {
		do(b, c.Execute(b.Context(), "stop", nil, nil))
		do(b, c.Execute(b.Context(), "cont", nil, nil))
	}
}

// BenchmarkStopBare is "quit" to a QEMU and the end of its process.
func BenchmarkStopBare(b *testing.B) {
	h, s := benchLab(b)
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		c, cmd := bare(b, h, s)
		b.StartTimer()
		do(b, c.Execute(b.Context(), "quit", nil, nil))
		do(b, cmd.Wait())
	}
}

// BenchmarkStats is one look at a running machine's counters.
func BenchmarkStats(b *testing.B) {
	h, s := benchLab(b)
	do(b, h.Start(b.Context(), s.ID))
	b.Cleanup(func() { h.Destroy(context.Background(), s.ID) })
	for b.Loop() {
		_, err := h.Stats(b.Context(), s.ID)
		do(b, err)
	}
}

// bare starts a machine without the driver and returns its monitor and
// its process.
func bare(b *testing.B, h *Hypervisor, s driver.Spec) (*qmp.Client, *exec.Cmd) {
	b.Helper()
	l, files, err := h.openAll(h.machines[s.ID].def)
	do(b, err)
	defer files.close()
	cmd := exec.Command(h.probed.binary, argv(l)...)
	cmd.ExtraFiles = files.files[3:]
	do(b, cmd.Start())
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	conn, err := socket.Dial(b.Context(), h.reg.path(s.ID, "qmp"), h.cfg.Timeout)
	do(b, err)
	c := greet(b, conn)
	b.Cleanup(func() { c.Close() })
	do(b, c.Execute(b.Context(), "cont", nil, nil))
	return c, cmd
}

// BenchmarkInspect is one look at a running machine.
func BenchmarkInspect(b *testing.B) {
	h, s := benchLab(b)
	do(b, h.Start(b.Context(), s.ID))
	b.Cleanup(func() { h.Destroy(context.Background(), s.ID) })
	b.ReportAllocs()
	for b.Loop() {
		_, err := h.Inspect(b.Context(), s.ID)
		do(b, err)
	}
}

func greet(b *testing.B, conn net.Conn) *qmp.Client {
	b.Helper()
	c, err := qmp.Connect(b.Context(), conn, func(qmp.Event) {})
	do(b, err)
	return c
}

func do(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
