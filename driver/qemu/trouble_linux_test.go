package qemu_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/driver/qemu/internal/qmp"
	"golang.org/x/sys/unix"
)

// A full disk stops the machine, not its file system; it goes on when there is
// room, without anybody asking, and nothing it wrote is lost.
func TestNoSpace(t *testing.T) {
	l := newLab(t, nil)
	dir := tmpfs(t, 4<<20)
	s := l.bootable(1, dir, 16<<20, writeDisk)
	l.must(l.h.Create(l.ctx, s))
	l.must(l.h.Start(l.ctx, s.ID))
	st := l.becomes(s.ID, driver.Stalled)
	if !strings.Contains(st.Reason, "disk-vda") || !strings.Contains(st.Reason, "no space") {
		t.Errorf("reason is %q", st.Reason)
	}
	if err := l.h.Pause(l.ctx, s.ID); !errors.Is(err, driver.ErrState) {
		t.Errorf("pausing a stalled machine: %v", err)
	}
	l.must(l.h.Close())
	l.open()
	l.becomes(s.ID, driver.Stalled) // known again after a restart

	l.must(unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"))
	l.becomes(s.ID, driver.Running)
	l.eventually("the whole disk to be written", func() bool {
		var st unix.Stat_t
		l.must(unix.Stat(s.Disks[0].Path, &st))
		return st.Blocks*512 >= 15<<20
	})
	l.is(s.ID, driver.Running)
}

// Where the driver's own files have no room, it refuses to begin anything that it
// could not write down, and ends what is to be ended all the same.
func TestNoSpaceForRegistry(t *testing.T) {
	dir := tmpfs(t, 1<<20)
	l := newLab(t, func(c *qemu.Config) { c.Dir = dir })
	one, two, three := pc.WithDisks(t, pc.Spec(l.dir, 1)), pc.WithDisks(t, pc.Spec(l.dir, 2)), pc.WithDisks(t, pc.Spec(l.dir, 3))
	l.run(one)
	l.must(l.h.Create(l.ctx, two))
	empty := l.fill(dir)
	if err := l.h.Create(l.ctx, three); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("creating: %v", err)
	}
	if err := l.h.Start(l.ctx, two.ID); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("starting: %v", err)
	}
	l.is(two.ID, driver.Defined)
	l.must(l.h.Stop(l.ctx, one.ID, driver.Force))
	l.is(one.ID, driver.Defined)
	empty()
	l.must(l.h.Start(l.ctx, two.ID))
	state := filepath.Join(dir, "machines", one.ID, "state.json")
	l.eventually("the stop to be written down", func() bool {
		b, err := os.ReadFile(state)
		l.must(err)
		return strings.Contains(string(b), `"state":"defined"`)
	})
	list, err := l.h.List(l.ctx)
	if err != nil || len(list) != 2 {
		t.Errorf("list is %+v, %v", list, err)
	}
}

func TestStartFails(t *testing.T) {
	l := newLab(t, nil)
	missing := pc.Spec(l.dir, 1)
	foreign := pc.Spec(l.dir, 2)
	foreign.Disks[0].Format = "qcow2" // withDisks fills it with zeros
	noTap := pc.Spec(l.dir, 3)
	noTap.NICs = []driver.NIC{{Tap: "sf-nowhere", MAC: "02:00:00:00:00:01", Model: "virtio"}}
	noNS := noTap
	noNS.ID = pc.Spec(l.dir, 4).ID
	noNS.NICs = []driver.NIC{{Tap: "sf-nowhere", NetNS: "/nowhere", MAC: "02:00:00:00:00:01", Model: "virtio"}}
	for name, tt := range map[string]struct {
		s    driver.Spec
		is   error
		says string
	}{
		"disk":      {missing, fs.ErrNotExist, "disk vda"},
		"format":    {pc.WithDisks(t, foreign), nil, "not a qcow2 image"},
		"tap":       {pc.WithDisks(t, noTap), unix.ENODEV, "sf-nowhere"},
		"namespace": {pc.WithDisks(t, noNS), fs.ErrNotExist, "/nowhere"},
	} {
		l.must(l.h.Create(l.ctx, tt.s))
		err := l.h.Start(l.ctx, tt.s.ID)
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		if st := l.is(tt.s.ID, driver.Defined); st.Boot != 0 || st.PID != 0 {
			t.Errorf("%s: after a failed start it is %+v", name, st)
		}
	}
}

// QEMU locks images: two machines cannot write to one. What it says is in the error.
func TestImageLock(t *testing.T) {
	l := newLab(t, nil)
	one, two := pc.WithDisks(t, pc.Spec(l.dir, 1)), pc.Spec(l.dir, 2)
	two.Disks[0].Path = one.Disks[0].Path
	l.run(one)
	l.must(l.h.Create(l.ctx, two))
	err := l.h.Start(l.ctx, two.ID)
	if err == nil || !strings.Contains(err.Error(), "lock") {
		t.Fatalf("starting a machine on a disk in use: %v", err)
	}
	l.is(two.ID, driver.Defined)
	l.must(l.h.Stop(l.ctx, one.ID, driver.Force))
	l.must(l.h.Start(l.ctx, two.ID))
}

func TestTwoDrivers(t *testing.T) {
	l := newLab(t, nil)
	if h, err := qemu.New(l.ctx, l.cfg); err == nil {
		h.Close()
		t.Fatal("two drivers over one registry")
	}
}

func TestTerminated(t *testing.T) {
	l := newLab(t, nil)
	st := l.run(pc.WithDisks(t, pc.Spec(l.dir, 1)))
	l.must(syscall.Kill(st.PID, syscall.SIGTERM))
	if st := l.becomes(st.ID, driver.Crashed); !strings.Contains(st.Reason, "host-signal") {
		t.Errorf("reason is %q", st.Reason)
	}
	l.must(l.h.Start(l.ctx, st.ID))
	st = l.is(st.ID, driver.Running)
	l.must(syscall.Kill(st.PID, syscall.SIGABRT))
	if st := l.becomes(st.ID, driver.Crashed); !strings.Contains(st.Reason, "SIGABRT") {
		t.Errorf("reason is %q", st.Reason)
	}
}

// What an adopting driver finds need not be what the last one left.
func TestAdoptOdd(t *testing.T) {
	bystander := os.Getpid()
	for name, tt := range map[string]struct {
		edit   func(state, process map[string]any)
		kill   bool
		want   driver.State
		reason string
	}{
		"host restarted":  {func(_, p map[string]any) { p["boot_id"] = "another" }, true, driver.Defined, "host restarted"},
		"PID not written": {func(_, p map[string]any) { p["pid"], p["start"] = 0, 0 }, false, driver.Running, ""},
		"never started":   {func(_, p map[string]any) { p["pid"], p["start"] = 0, 0 }, true, driver.Crashed, "nobody watched"},
		"PID of another":  {func(_, p map[string]any) { p["pid"] = bystander }, true, driver.Crashed, "nobody watched"},
		"no process":      {func(s, _ map[string]any) { delete(s, "process") }, true, driver.Crashed, "lost"},
		"stopped by us":   {func(s, _ map[string]any) { s["verdict"] = map[string]any{"state": "defined"} }, true, driver.Defined, ""},
		"ended by its guest": {func(s, _ map[string]any) {
			s["verdict"] = map[string]any{"state": "stopped", "reason": "the guest shut down"}
		}, true, driver.Stopped, "guest shut down"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			st := l.run(pc.WithDisks(t, pc.Spec(l.dir, 1)))
			l.must(l.h.Close())
			l.editState(st.ID, tt.edit)
			if tt.kill {
				l.must(syscall.Kill(st.PID, syscall.SIGKILL))
				l.eventually("the emulator to end", func() bool { return ended(st.PID) })
			}
			l.open()
			now := l.becomes(st.ID, tt.want) // a killed process may take a moment
			if !strings.Contains(now.Reason, tt.reason) {
				t.Errorf("reason is %q", now.Reason)
			}
			if !tt.kill && now.PID != st.PID {
				t.Errorf("adopted process %d, not %d", now.PID, st.PID)
			}
		})
	}
}

// ended reports whether a process is gone or a zombie.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// A QEMU that was never told to run, because its starter died, is put away.
func TestAdoptUnborn(t *testing.T) {
	l := newLab(t, nil)
	st := l.run(pc.WithDisks(t, pc.Spec(l.dir, 1)))
	l.must(l.h.Close())
	l.monitor(st.ID, "prelaunch", "stop", "system_reset")
	l.open()
	if st := l.becomes(st.ID, driver.Defined); !strings.Contains(st.Reason, "interrupted") {
		t.Errorf("reason is %q", st.Reason)
	}
	l.eventually("the emulator to end", func() bool { return ended(st.PID) })
}

// talk opens the monitor of a machine whose driver is closed.
func (l *lab) talk(id string) *qmp.Client {
	l.Helper()
	dir, err := os.Open(filepath.Join(l.cfg.Dir, "machines", id))
	l.must(err)
	defer dir.Close()
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/qmp", dir.Fd()))
	l.must(err)
	c, err := qmp.Connect(l.ctx, conn, func(qmp.Event) {})
	l.must(err)
	return c
}

// query asks a QEMU behind the driver's back.
func (l *lab) query(id, command string, reply any) {
	l.Helper()
	c := l.talk(id)
	defer c.Close()
	l.must(c.Execute(l.ctx, command, nil, reply))
}

// monitor says something to a QEMU behind the driver's back, and waits for a state.
func (l *lab) monitor(id, want string, commands ...string) {
	l.Helper()
	c := l.talk(id)
	defer c.Close()
	for _, command := range commands {
		l.must(c.Execute(l.ctx, command, nil, nil))
	}
	var reply struct{ Status string }
	l.eventually("the state "+want, func() bool {
		l.must(c.Execute(l.ctx, "query-status", nil, &reply))
		return reply.Status == want
	})
}

// A machine directory without a definition is a Create or Destroy that was cut
// short, and one whose state is unreadable is a machine that is off.
func TestBrokenRegistry(t *testing.T) {
	l := newLab(t, nil)
	s := pc.WithDisks(t, pc.Spec(l.dir, 1))
	l.must(l.h.Create(l.ctx, s))
	l.must(l.h.Close())
	machines := filepath.Join(l.cfg.Dir, "machines")
	half := filepath.Join(machines, "5f000000-0000-4000-8000-000000000099")
	l.must(os.Mkdir(half, 0o700))
	l.must(os.WriteFile(filepath.Join(machines, s.ID, "state.json"), []byte("{"), 0o600))
	l.open()
	list, err := l.h.List(l.ctx)
	if err != nil || len(list) != 1 || list[0].State != driver.Defined {
		t.Errorf("list is %+v, %v", list, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a machine is still there: %v", err)
	}
}
