package libvirt_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
)

// Machines to try things with.
var spec, withDisks = pc.Spec, pc.WithDisks

// newDir makes a directory that QEMUs may enter.
func newDir(t *testing.T, virt *libvirttest.Host) string {
	t.Helper()
	dir, err := os.MkdirTemp(virt.Dir, "host")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// lab is a libvirtd of the test's own with one driver over it.
type lab struct {
	*testing.T
	virt *libvirttest.Host
	dir  string
	cfg  libvirt.Config
	h    *libvirt.Hypervisor
	ctx  context.Context
}

func newLab(t *testing.T, change func(*libvirt.Config)) *lab {
	t.Helper()
	l := &lab{T: t, virt: libvirttest.Start(t)}
	l.dir = newDir(t, l.virt)
	l.cfg = config(l.virt, l.dir)
	if change != nil {
		change(&l.cfg)
	}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithTimeout(context.Background(), 15*time.Minute)
	t.Cleanup(cancel)
	l.open()
	t.Cleanup(func() {
		if err := l.h.Close(); err != nil { // libvirtd and all machines end with their host
			t.Error(err)
		}
	})
	return l
}

func (l *lab) open() {
	l.Helper()
	h, err := libvirt.New(l.ctx, l.cfg)
	l.must(err)
	l.h = h
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) run(s driver.Spec) driver.Status {
	l.Helper()
	l.must(l.h.Create(l.ctx, s))
	l.must(l.h.Start(l.ctx, s.ID))
	return l.is(s.ID, driver.Running)
}

func (l *lab) is(id string, want driver.State) driver.Status {
	l.Helper()
	s, err := l.h.Inspect(l.ctx, id)
	l.must(err)
	if s.State != want {
		l.Fatalf("machine is %s (%s), want %s", s.State, s.Reason, want)
	}
	return s
}

// eventually waits for what no event tells.
func (l *lab) eventually(what string, ok func() bool) {
	l.Helper()
	pc.Eventually(l.ctx, l, what, ok)
}

// console waits for a guest to be up and logs in.
func (l *lab) console(id string) *guest.Console {
	l.Helper()
	p := make([]byte, 1<<20)
	l.eventually("the guest's prompt", func() bool {
		n, _, err := l.h.ConsoleLog(l.ctx, id, 0, p)
		l.must(err)
		return strings.HasSuffix(string(p[:n]), pc.Prompt)
	})
	con, err := l.h.Console(l.ctx, id)
	l.must(err)
	l.Cleanup(func() { con.Close() })
	c := guest.NewConsole(con)
	l.must(c.Attach(l.ctx))
	return c
}
