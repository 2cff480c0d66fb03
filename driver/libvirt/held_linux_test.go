package libvirt_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/shakenfist/cloud/driver"
)

// A libvirtd that is killed after it noted that it begins a backup, and before it
// noted of what, locks the machine for the backups of its successor. The next
// snapshot says so and the way out; all else works meanwhile.
func TestHeld(t *testing.T) {
	l := newLab(t, nil)
	s := withDisks(t, spec(l.dir, 1))
	l.run(s)
	l.lock(s.ID)
	targets := []driver.SnapshotTarget{{Device: "vda", Path: filepath.Join(l.dir, "copy")}}
	err := l.h.Snapshot(l.ctx, s.ID, snapshotJob, targets)
	if !errors.Is(err, driver.ErrState) {
		t.Fatalf("a snapshot of a locked machine: %v", err)
	}
	t.Log(err)
	if _, err := os.Stat(targets[0].Path); err == nil {
		t.Error("the refused snapshot left a file")
	}
	if _, err := l.h.SnapshotJob(l.ctx, s.ID, snapshotJob); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("the refused job: %v", err)
	}
	l.must(l.h.EndSnapshot(l.ctx, s.ID, snapshotJob))
	l.must(l.h.Pause(l.ctx, s.ID))
	l.must(l.h.Resume(l.ctx, s.ID))
	l.must(l.h.Reset(l.ctx, s.ID))
	l.must(l.h.Stop(l.ctx, s.ID, driver.Force))
	l.must(l.h.Start(l.ctx, s.ID))
	l.must(l.snapshot(s))
	l.copied(s)
}

// A machine that nobody knew to be locked starts as well, only later.
func TestHeldUnknown(t *testing.T) {
	t.Parallel() // half a minute, of libvirt's own waiting
	l := newLab(t, nil)
	s := withDisks(t, spec(l.dir, 1))
	l.run(s)
	l.lock(s.ID)
	l.must(l.h.Stop(l.ctx, s.ID, driver.Force))
	l.must(l.h.Start(l.ctx, s.ID))
	l.is(s.ID, driver.Running)
}

// lock kills libvirtd and starts it again with a backup in the domain's state.
func (l *lab) lock(id string) {
	l.Helper()
	l.virt.Kill(l)
	path := filepath.Join(l.virt.Dir, "run", "qemu", "sf:"+id+".xml")
	state, err := os.ReadFile(path)
	l.must(err)
	job := regexp.MustCompile(`(?m)^ *<job .*\n`)
	state = job.ReplaceAll(state, nil)
	status := regexp.MustCompile(`(?m)^<domstatus .*\n`)
	state = status.ReplaceAll(state, []byte("$0  <job type='none' async='backup' phase='none' flags='0x0'/>\n"))
	l.must(os.WriteFile(path, state, 0o600))
	l.virt.Launch(l)
}
