package libvirt_test

import (
	"errors"
	"fmt"
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

// A libvirtd that is killed when it has noted of what it begins a backup, and not the
// copies that it begins, or when these have ended, and not the backup: its successor waits
// for their end for good. The job is lost, as one whose end is forgotten, and the next
// one is made.
func TestWaiting(t *testing.T) {
	l := newLab(t, nil)
	s := withDisks(t, spec(l.dir, 1))
	l.run(s)
	wait := func() {
		l.must(l.snapshot(s))
		l.virt.Kill(l)
		l.rewrite(s.ID, "async='backup' flags='0x0'", `  <blockjobs active='no'/>
  <backups><domainbackup mode='push'><disks>
    <disk name='vda' backup='yes' state='running' type='file' backupmode='full' index='9'>
      <driver type='qcow2'/><target file='`+filepath.Join(l.dir, "copy")+`'><privateData><nodenames>
        <nodename type='storage' name='libvirt-9-storage'/><nodename type='format' name='libvirt-9-format'/>
      </nodenames></privateData></target>
    </disk>
  </disks></domainbackup></backups>
`)
		l.virt.Launch(l)
	}
	again := func() {
		l.must(l.h.EndSnapshot(l.ctx, s.ID, snapshotJob))
		l.must(l.snapshot(s))
		l.copied(s)
		l.must(l.h.EndSnapshot(l.ctx, s.ID, snapshotJob))
	}
	lost := func() {
		if st, err := l.h.SnapshotJob(l.ctx, s.ID, snapshotJob); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("a job that libvirt lost: %+v, %v", st, err)
		}
	}
	t.Run("looked at", func(t *testing.T) {
		wait()
		lost()
		l.must(l.snapshot(s))
		again()
	})
	t.Run("ended", func(t *testing.T) {
		wait()
		again()
	})
	t.Run("stopped", func(t *testing.T) {
		wait()
		l.must(l.h.Stop(l.ctx, s.ID, driver.Force))
		l.must(l.h.Start(l.ctx, s.ID))
		again()
	})
	// What libvirt knows nothing of goes on in QEMU, here without end.
	other := filepath.Join(l.dir, "other")
	l.must(os.WriteFile(other, nil, 0o600))
	l.must(os.Chmod(other, 0o666)) // QEMU is another user
	copies := fmt.Sprintf(`{"execute":"drive-backup","arguments":{"device":"libvirt-1-format","job-id":"backup-vda-libvirt-1-format",
		"target":%q,"sync":"full","format":"qcow2","speed":1,"auto-dismiss":false}}`, other)
	t.Run("copying", func(t *testing.T) {
		wait()
		lost() // which dismisses the copy that ended
		l.must(l.h.EndSnapshot(l.ctx, s.ID, snapshotJob))
		l.must(l.h.Tell(l.ctx, s.ID, copies))
		again()
	})
}

// lock kills libvirtd and starts it again with a backup in the domain's state.
func (l *lab) lock(id string) {
	l.Helper()
	l.virt.Kill(l)
	l.rewrite(id, "async='backup' phase='none' flags='0x0'", "")
	l.virt.Launch(l)
}

// rewrite changes what a libvirtd that is not there noted of a domain: its job, and what
// else it has under way.
func (l *lab) rewrite(id, job, more string) {
	l.Helper()
	path := filepath.Join(l.virt.Dir, "run", "qemu", "sf:"+id+".xml")
	state, err := os.ReadFile(path)
	l.must(err)
	for _, was := range []string{`(?m)^ *<job .*\n`, `(?m)^ *<blockjobs .*/>\n`, `(?s) *<blockjobs .*</blockjobs>\n`, `(?s) *<backups>.*</backups>\n`} {
		state = regexp.MustCompile(was).ReplaceAll(state, nil)
	}
	status := regexp.MustCompile(`(?m)^<domstatus .*\n`)
	state = status.ReplaceAll(state, []byte("$0  <job type='none' "+job+"/>\n"+more))
	l.must(os.WriteFile(path, state, 0o600))
}
