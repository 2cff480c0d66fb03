package drivertest

import (
	"bytes"
	"path/filepath"
	"time"

	"github.com/shakenfist/cloud/driver"
)

const jobName = "snapshot of 5f000000"

var snapshotRules = []rule{
	// A snapshot copies a disk of a running machine, which goes on as if nothing
	// was; the job is there until it is ended, and the same job again is nil.
	{name: "Snapshot", test: func(s *suite) {
		n := ability[driver.Snapshotter](s)
		id := s.started(1)
		before := s.is(id, driver.Running)
		targets := s.targets()
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.copied(id)
		s.must(n.Snapshot(s.ctx, id, jobName, targets)) // also when it has ended
		s.copied(id)
		s.same(targets)
		s.must(n.EndSnapshot(s.ctx, id, jobName))
		s.same(targets)
		_, err := n.SnapshotJob(s.ctx, id, jobName)
		s.fails("a job that was ended", err, driver.ErrNotFound)
		s.must(n.EndSnapshot(s.ctx, id, jobName))
		if after := s.is(id, driver.Running); after != before {
			s.Errorf("a snapshot changed %+v to %+v", before, after)
		}
		// Its name is free.
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.copied(id)
		s.same(targets)
	}},

	// A paused machine is copied too, and stays paused.
	{name: "SnapshotPaused", test: func(s *suite) {
		n := ability[driver.Snapshotter](s)
		id := s.started(1)
		s.must(ability[driver.Pauser](s).Pause(s.ctx, id))
		targets := s.targets()
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.copied(id)
		s.same(targets)
		s.must(n.EndSnapshot(s.ctx, id, jobName))
		s.is(id, driver.Paused)
		s.must(ability[driver.Pauser](s).Resume(s.ctx, id))
		s.is(id, driver.Running)
	}},

	// A job that is ended early is gone, and may begin anew; one that goes with its
	// machine is not found, nor in the machine's next run.
	{name: "SnapshotEnds", test: func(s *suite) {
		n := ability[driver.Snapshotter](s)
		id := s.started(1)
		targets := s.targets()
		for range 2 {
			s.must(n.Snapshot(s.ctx, id, jobName, targets))
			s.must(n.EndSnapshot(s.ctx, id, jobName))
			_, err := n.SnapshotJob(s.ctx, id, jobName)
			s.fails("a job that was ended early", err, driver.ErrNotFound)
		}
		s.is(id, driver.Running)
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.must(s.h.Stop(s.ctx, id, driver.Force))
		for range 2 {
			_, err := n.SnapshotJob(s.ctx, id, jobName)
			s.fails("a job of a machine that was stopped", err, driver.ErrNotFound)
			s.must(s.h.Start(s.ctx, id))
		}
		s.must(n.EndSnapshot(s.ctx, id, jobName))
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.copied(id)
		s.must(s.h.Destroy(s.ctx, id))
		s.must(n.EndSnapshot(s.ctx, id, jobName))
	}},

	// So is one whose emulator ended unasked.
	{name: "SnapshotCrash", test: func(s *suite) {
		n := ability[driver.Snapshotter](s)
		id := s.started(1)
		s.must(n.Snapshot(s.ctx, id, jobName, s.targets()))
		s.crash(id)
		s.becomes(id, driver.Crashed)
		_, err := n.SnapshotJob(s.ctx, id, jobName)
		s.fails("a job of a machine that crashed", err, driver.ErrNotFound)
		s.must(n.EndSnapshot(s.ctx, id, jobName))
	}},

	// A later process finds the job, which is the same, and ends it.
	{name: "AdoptSnapshot", test: func(s *suite) {
		n := ability[driver.Snapshotter](s)
		id := s.started(1)
		targets := s.targets()
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.reopen(nil)
		n = ability[driver.Snapshotter](s)
		s.must(n.Snapshot(s.ctx, id, jobName, targets))
		s.copied(id)
		s.reopen(nil)
		s.copied(id)
		s.same(targets)
		n = ability[driver.Snapshotter](s)
		s.must(n.EndSnapshot(s.ctx, id, jobName))
		_, err := n.SnapshotJob(s.ctx, id, jobName)
		s.fails("a job that was ended", err, driver.ErrNotFound)
	}},

	// What cannot be copied is refused.
	{name: "SnapshotRefused", test: func(s *suite) {
		n := ability[driver.Snapshotter](s)
		id := s.created(1)
		targets := s.targets()
		s.fails("off", n.Snapshot(s.ctx, id, jobName, targets), driver.ErrState)
		_, err := n.SnapshotJob(s.ctx, id, jobName)
		s.fails("a job of a machine that is off", err, driver.ErrNotFound)
		s.must(n.EndSnapshot(s.ctx, id, jobName))
		s.fails("nobody", n.Snapshot(s.ctx, nobody, jobName, targets), driver.ErrNotFound)
		_, err = n.SnapshotJob(s.ctx, nobody, jobName)
		s.fails("nobody's job", err, driver.ErrNotFound)
		s.must(n.EndSnapshot(s.ctx, nobody, jobName))
		s.must(s.h.Start(s.ctx, id))
		targets[0].Device = "zzz"
		s.fails("no such disk", n.Snapshot(s.ctx, id, jobName, targets), driver.ErrInvalid)
		_, err = n.SnapshotJob(s.ctx, id, jobName)
		s.fails("a job that was refused", err, driver.ErrNotFound)
	}},
}

// targets are copies of the disks of machine 1, beside them.
func (s *suite) targets() (all []driver.SnapshotTarget) {
	s.Helper()
	spec := s.cfg.Spec(s.T, s.h, 1)
	if len(spec.Disks) == 0 {
		s.Skip("no disks")
	}
	for _, d := range spec.Disks {
		all = append(all, driver.SnapshotTarget{Device: d.Device, Path: filepath.Join(filepath.Dir(d.Path), "copy-"+d.Device)})
	}
	return all
}

// copied waits for the job to end with success.
func (s *suite) copied(id string) {
	s.Helper()
	n := ability[driver.Snapshotter](s)
	for done := int64(-1); ; {
		st, err := n.SnapshotJob(s.ctx, id, jobName)
		s.must(err)
		if st.Err != nil || st.Done < done || st.Done > st.Total {
			s.Fatalf("after %d bytes the job is %+v", done, st)
		}
		if done = st.Done; st.Ended {
			if st.Done != st.Total || st.Total == 0 {
				s.Errorf("at its end the job is %+v", st)
			}
			return
		}
		select {
		case <-s.ctx.Done():
			s.Fatalf("the job does not end: %+v", st)
		case <-time.After(10 * time.Millisecond): // there is no hint for progress
		}
	}
}

// same compares copies with the disks, which nobody wrote to meanwhile.
func (s *suite) same(targets []driver.SnapshotTarget) {
	s.Helper()
	if s.cfg.Content == nil {
		return
	}
	for i, d := range s.cfg.Spec(s.T, s.h, 1).Disks {
		want, got := s.cfg.Content(s.T, d.Path, d.Format), s.cfg.Content(s.T, targets[i].Path, "qcow2")
		if !bytes.Equal(got, want) {
			s.Errorf("the copy of %s (%d bytes) differs from the disk (%d bytes)", d.Device, len(got), len(want))
		}
	}
}
