package qemu_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
	"golang.org/x/sys/unix"
)

// A guest that prints for ever fills neither the disk nor anybody's memory: the
// log keeps its end at its true offset, and a viewer who does not read holds up
// neither the machine nor another viewer.
func TestFlood(t *testing.T) {
	const limit = 64 << 10
	l := newLab(t, func(c *qemu.Config) { c.ConsoleLimit = limit })
	s := l.bootable(1, l.dir, 1<<20, printLines)
	l.run(s)
	if _, err := l.h.Console(l.ctx, s.ID); err != nil { // which nobody reads
		t.Fatal(err)
	}
	reader, err := l.h.Console(l.ctx, s.ID)
	l.must(err)
	const line = "0123456789:;<=>?"
	got := make([]byte, 256<<10)
	_, err = io.ReadFull(reader, got)
	l.must(err)
	if n := bytes.Count(got, []byte(line)); n < len(got)/len(line)*9/10 {
		t.Errorf("the console shows %d lines in %d bytes", n, len(got))
	}

	log := filepath.Join(s.Dir, "console.log")
	var st unix.Stat_t
	l.eventually("the log to be cut", func() bool {
		l.must(unix.Stat(log, &st))
		return st.Size > 300<<10 && st.Blocks*512 < 3*limit
	})
	l.must(l.h.Stop(l.ctx, s.ID, driver.Force))
	p := make([]byte, 1<<20)
	n, end, err := l.h.ConsoleLog(l.ctx, s.ID, 0, p)
	l.must(err)
	if end <= 300<<10 || n == 0 || bytes.IndexByte(p[:n], 0) >= 0 || !strings.HasSuffix(string(p[:n]), string(tail(l, s.ID, 100))) {
		t.Errorf("the log has %d bytes to %d, from %q", n, end, p[:min(n, 40)])
	}
}

func tail(l *lab, id string, n int64) []byte {
	p := make([]byte, n)
	got, _, err := l.h.ConsoleLog(l.ctx, id, -n, p)
	l.must(err)
	return p[:got]
}

// Opening, using and closing leaves no goroutine and no descriptor behind.
func TestNoLeaks(t *testing.T) {
	l := newLab(t, nil)
	l.must(l.h.Close())
	s := pc.WithDisks(t, pc.Spec(l.dir, 1))
	round := func() {
		l.open()
		l.run(s)
		var open []io.Closer
		for range 2 {
			con, err := l.h.Console(l.ctx, s.ID)
			l.must(err)
			open = append(open, con)
		}
		_, err := l.h.Events(l.ctx) // never closed: Close of the driver does
		l.must(err)
		l.must(open[0].Close())
		l.must(l.h.Close())
		l.open()
		l.must(l.h.Pause(l.ctx, s.ID))
		l.must(l.h.Stop(l.ctx, s.ID, driver.Force))
		l.must(l.h.Start(l.ctx, s.ID))
		l.must(l.h.Destroy(l.ctx, s.ID))
		l.must(l.h.Close())
	}
	round() // what is made once for all is made here
	goroutines, files := runtime.NumGoroutine(), descriptors(l)
	for range 3 {
		round()
	}
	l.eventually("goroutines and descriptors to go", func() bool {
		return runtime.NumGoroutine() <= goroutines && len(descriptors(l)) <= len(files)
	})
	l.open() // for the cleanup
}

func descriptors(l *lab) (open []string) {
	l.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	l.must(err)
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			open = append(open, to)
		}
	}
	return open
}

// A machine has no descriptor but its own: nothing of the daemon's leaks into it.
func TestInheritance(t *testing.T) {
	l := newLab(t, nil)
	secret, err := os.Create(filepath.Join(l.dir, "secret"))
	l.must(err)
	defer secret.Close()
	l.run(pc.WithDisks(t, pc.Spec(l.dir, 1)))
	st := l.run(pc.WithDisks(t, pc.Spec(l.dir, 2)))
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", st.PID))
	l.must(err)
	for _, e := range entries {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", st.PID, e.Name()))
		if strings.HasPrefix(to, l.dir) && !strings.Contains(to, "disk2") && !strings.Contains(to, st.ID) {
			t.Errorf("descriptor %s is %s", e.Name(), to)
		}
	}
}
