package libvirt_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/libvirt"
)

// killed is an operation in whose middle libvirtd is killed.
type killed struct {
	name  string
	from  driver.State // that the machine is brought into before
	act   func(*lab, driver.Spec) error
	to    driver.State
	after func(*lab, driver.Spec)
}

const snapshotJob = "job"

var killedOperations = []killed{
	{name: "Create", to: driver.Defined, act: func(l *lab, s driver.Spec) error { return l.h.Create(l.ctx, s) },
		after: func(l *lab, s driver.Spec) { l.must(l.h.Create(l.ctx, s)) }},
	{name: "Start", from: driver.Defined, to: driver.Running, act: func(l *lab, s driver.Spec) error { return l.h.Start(l.ctx, s.ID) },
		after: func(l *lab, s driver.Spec) {
			if st := l.is(s.ID, driver.Running); st.Boot != 1 || st.PID == 0 {
				l.Errorf("after a start it is %+v", st)
			}
		}},
	{name: "Stop", from: driver.Running, to: driver.Defined, act: func(l *lab, s driver.Spec) error { return l.h.Stop(l.ctx, s.ID, driver.Force) }},
	{name: "Graceful", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error { return l.h.Stop(l.ctx, s.ID, driver.Graceful) }},
	{name: "Pause", from: driver.Running, to: driver.Paused, act: func(l *lab, s driver.Spec) error { return l.h.Pause(l.ctx, s.ID) }},
	{name: "Resume", from: driver.Paused, to: driver.Running, act: func(l *lab, s driver.Spec) error { return l.h.Resume(l.ctx, s.ID) }},
	{name: "Reset", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error { return l.h.Reset(l.ctx, s.ID) }},
	{name: "Reboot", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error { return l.h.Reboot(l.ctx, s.ID) }},
	{name: "Inspect", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error {
		_, err := l.h.Inspect(l.ctx, s.ID)
		return err
	}},
	{name: "List", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error {
		list, err := l.h.List(l.ctx)
		if err == nil && len(list) != 1 {
			err = errors.New("the list has no machine")
		}
		return err
	}},
	{name: "Display", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error {
		c, err := l.h.Display(l.ctx, s.ID)
		if err == nil {
			c.Close()
		}
		return err
	}},
	{name: "Console", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error {
		c, err := l.h.Console(l.ctx, s.ID)
		if err == nil {
			c.Close()
		}
		return err
	}},
	{name: "Stats", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error {
		_, err := l.h.Stats(l.ctx, s.ID)
		return err
	}},
	{name: "Snapshot", from: driver.Running, to: driver.Running, act: (*lab).snapshot, after: func(l *lab, s driver.Spec) {
		// A copy that ended while there was no libvirtd is forgotten, and is made anew.
		if _, err := l.h.SnapshotJob(l.ctx, s.ID, snapshotJob); errors.Is(err, driver.ErrNotFound) {
			l.Log(err)
			l.must(l.snapshot(s))
		}
		l.copied(s)
	}},
	{name: "EndSnapshot", from: driver.Running, to: driver.Running, act: func(l *lab, s driver.Spec) error {
		return errors.Join(l.snapshot(s), l.h.EndSnapshot(l.ctx, s.ID, snapshotJob))
	}, after: func(l *lab, s driver.Spec) {
		if _, err := l.h.SnapshotJob(l.ctx, s.ID, snapshotJob); !errors.Is(err, driver.ErrNotFound) {
			l.Errorf("a job that was ended: %v", err)
		}
		l.must(l.snapshot(s))
		l.copied(s)
	}},
	{name: "Destroy", from: driver.Running, act: func(l *lab, s driver.Spec) error { return l.h.Destroy(l.ctx, s.ID) },
		after: func(l *lab, s driver.Spec) {
			if _, err := os.Stat(s.Dir); err == nil {
				l.Errorf("%s is still there", s.Dir)
			}
		}},
}

// A libvirtd that is killed, and started again, in the middle of any operation
// costs nothing but time: the operation succeeds.
func TestKill(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *libvirt.Config) { c.Timeout = time.Minute })
	for _, op := range killedOperations {
		t.Run(op.name, func(t *testing.T) {
			sub := *l
			sub.T = t
			took := sub.time(op)
			for quarter := range 4 {
				sub.kill(op, took*time.Duration(quarter)/4)
			}
		})
	}
}

// kill does an operation and kills libvirtd some time after its begin.
func (l *lab) kill(op killed, after time.Duration) {
	l.Helper()
	s := l.prepare(op)
	errs := make(chan error, 1)
	go func() { errs <- op.act(l, s) }()
	time.Sleep(after) // the moment of a fault, which is all the same
	l.virt.Kill(l)
	l.virt.Launch(l)
	if err := <-errs; err != nil {
		l.Errorf("libvirtd killed after %v: %v", after, err)
	}
	l.finish(op, s)
}

// time measures an operation without trouble.
func (l *lab) time(op killed) time.Duration {
	l.Helper()
	s := l.prepare(op)
	begin := time.Now()
	l.must(op.act(l, s))
	took := time.Since(begin)
	l.finish(op, s)
	return took
}

func (l *lab) prepare(op killed) driver.Spec {
	l.Helper()
	s := spec(l.dir, 1)
	s.Video = driver.Video{Model: "cirrus"}
	withDisks(l.T, s)
	if op.from == "" {
		return s
	}
	l.must(l.h.Create(l.ctx, s))
	if op.from != driver.Defined {
		l.must(l.h.Start(l.ctx, s.ID))
	}
	if op.from == driver.Paused {
		l.must(l.h.Pause(l.ctx, s.ID))
	}
	return s
}

func (l *lab) finish(op killed, s driver.Spec) {
	l.Helper()
	if st, err := l.h.Inspect(l.ctx, s.ID); op.to == "" && !errors.Is(err, driver.ErrNotFound) {
		l.Errorf("it is still there: %+v, %v", st, err)
	} else if op.to != "" && (err != nil || st.State != op.to) {
		l.Errorf("it is %+v, %v; want %s", st, err, op.to)
	}
	if op.after != nil {
		op.after(l, s)
	}
	l.must(l.h.Destroy(l.ctx, s.ID))
}

// snapshot begins a copy. What libvirt does not survive is said, and a restart of the
// machine mends it.
func (l *lab) snapshot(s driver.Spec) error {
	begin := func() error {
		return l.h.Snapshot(l.ctx, s.ID, snapshotJob, []driver.SnapshotTarget{{Device: "vda", Path: filepath.Join(l.dir, "copy")}})
	}
	err := begin()
	if err == nil || !strings.Contains(err.Error(), "powered off and on") {
		return err
	}
	l.Log(err)
	return errors.Join(l.h.Stop(l.ctx, s.ID, driver.Force), l.h.Start(l.ctx, s.ID), begin())
}

// copied waits for the snapshot and compares it with its disk.
func (l *lab) copied(s driver.Spec) {
	l.Helper()
	l.eventually("the copy", func() bool {
		st, err := l.h.SnapshotJob(l.ctx, s.ID, snapshotJob)
		l.must(errors.Join(err, st.Err))
		return st.Ended
	})
	if string(pc.Content(l.T, filepath.Join(l.dir, "copy"), "qcow2")) != string(pc.Content(l.T, s.Disks[0].Path, "raw")) {
		l.Error("the copy differs from the disk")
	}
}

// A libvirtd that is away is waited for, no longer than the driver's limit; what
// happened meanwhile is known when it is back.
func TestAway(t *testing.T) {
	l := newLab(t, func(c *libvirt.Config) { c.Timeout = time.Second })
	s := withDisks(t, spec(l.dir, 1))
	st := l.run(s)
	l.virt.Kill(l)
	if _, err := l.h.Inspect(l.ctx, s.ID); err == nil {
		t.Error("Inspect without a libvirtd is nil")
	}
	if err := l.h.Stop(l.ctx, s.ID, driver.Force); err == nil {
		t.Error("Stop without a libvirtd is nil")
	}
	l.must(killProcess(st.PID))
	events, err := l.h.Events(l.ctx)
	l.must(err)
	defer events.Close()
	l.virt.Launch(l)
	for {
		e, err := events.Next(l.ctx)
		l.must(err)
		if e.ID == s.ID && e.State == driver.Crashed { // the Stop was refused
			break
		}
	}
	l.must(l.h.Start(l.ctx, s.ID))
	l.is(s.ID, driver.Running)
}

func killProcess(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }
