package qemu

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/tap"
	"golang.org/x/sys/unix"
)

// Stats implements driver.Stater. What NICs did is read at their taps and counts
// from the making of a tap on, where that was before the machine's start.
func (h *Hypervisor) Stats(ctx context.Context, id string) (driver.Stats, error) {
	var st driver.Stats
	err := h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("measure")
		if err != nil {
			return err
		}
		if st.ReadBytes, st.WrittenBytes, err = s.diskCounters(ctx); err != nil {
			return err
		}
		for _, n := range m.spec().NICs {
			in, out, err := tap.Counters(n.NetNS, n.Tap)
			if err != nil {
				return fmt.Errorf("tap %s: %w", n.Tap, err)
			}
			st.ReceivedBytes += out // what the host sent into a tap
			st.SentBytes += in
		}
		if st.CPUNanoseconds, st.MemoryBytes, err = processCounters(s.child.PID); err != nil {
			return err
		}
		if s.child.ended() { // what we read may be another process's
			return fmt.Errorf("the machine ended while it was measured: %w", driver.ErrState)
		}
		return nil
	})
	if err != nil {
		return driver.Stats{}, err
	}
	return st, nil
}

// diskCounters adds up what the guest's disks have done.
func (s *session) diskCounters(ctx context.Context) (read, written int64, err error) {
	var disks []struct {
		Device string `json:"qdev"`
		Stats  struct {
			Read    int64 `json:"rd_bytes"`
			Written int64 `json:"wr_bytes"`
		} `json:"stats"`
	}
	err = s.execute(ctx, "query-blockstats", &disks)
	for _, d := range disks {
		if d.Device != "" { // and not the firmware, or a copy's target
			read += d.Stats.Read
			written += d.Stats.Written
		}
	}
	return read, written, err
}

// processCounters are a process's CPU time, over all threads, and its resident memory.
func processCounters(pid int) (cpu, memory int64, err error) {
	const perProcess = 2 // CPUCLOCK_SCHED, see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcess), &t); err != nil {
		return 0, 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("/proc/%d/statm is short", pid)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return t.Nano(), pages * int64(os.Getpagesize()), err
}
