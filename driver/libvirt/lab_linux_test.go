package libvirt_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
)

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
	for !ok() {
		select {
		case <-l.ctx.Done():
			l.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// console waits for a guest to be up and logs in.
func (l *lab) console(id string) *guest.Console {
	l.Helper()
	p := make([]byte, 1<<20)
	l.eventually("the guest's prompt", func() bool {
		n, _, err := l.h.ConsoleLog(l.ctx, id, 0, p)
		l.must(err)
		return strings.HasSuffix(string(p[:n]), " login: ")
	})
	con, err := l.h.Console(l.ctx, id)
	l.must(err)
	l.Cleanup(func() { con.Close() })
	c := guest.NewConsole(con)
	l.must(c.Attach(l.ctx))
	return c
}
