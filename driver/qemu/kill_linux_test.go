package qemu_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
)

// TestKilled kills the process that runs the driver, at moments spread over what
// it does to a machine all the time. A new one finds a machine that it can name,
// start and destroy, and no QEMU that it does not know.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("SF_QEMU_VICTIM"); dir != "" {
		victim(t, dir)
		return
	}
	l := newLab(t, nil)
	s := pc.WithDisks(t, pc.Spec(l.dir, 1))
	l.must(l.h.Close())
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "SF_QEMU_VICTIM="+l.dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.StdoutPipe()
		l.must(err)
		l.must(cmd.Start())
		for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "go"; {
		}
		time.Sleep(time.Duration(round) * 7 * time.Millisecond) // where it is killed, not what we wait for
		l.must(syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
		cmd.Wait()

		l.open()
		st, err := l.h.Inspect(l.ctx, s.ID)
		l.must(err)
		if alive := emulators(l); len(alive) > 1 {
			t.Errorf("round %d: machine is %+v, QEMUs are %v", round, st, alive)
		}
		if !st.State.On() {
			l.eventually("a QEMU nobody knows to end", func() bool { return len(emulators(l)) == 0 })
		}
		// One that was told to quit may look alive for a moment.
		l.eventually("the machine to run", func() bool {
			l.must(l.h.Start(l.ctx, s.ID))
			l.h.Resume(l.ctx, s.ID)
			st, err := l.h.Inspect(l.ctx, s.ID)
			l.must(err)
			return st.State == driver.Running && len(emulators(l)) == 1
		})
		l.must(l.h.Destroy(l.ctx, s.ID))
		l.eventually("all QEMUs to end", func() bool { return len(emulators(l)) == 0 })
		l.must(l.h.Close())
	}
	l.open()
}

// victim starts and stops a machine until it is killed.
func victim(t *testing.T, dir string) {
	l := &lab{T: t, dir: dir, cfg: config(dir), ctx: t.Context()}
	l.cfg.Accel = "tcg"
	h, err := qemu.New(l.ctx, l.cfg)
	l.must(err)
	s := pc.Spec(dir, 1)
	l.must(h.Create(l.ctx, s))
	os.Stdout.WriteString("go\n")
	for {
		l.must(h.Start(l.ctx, s.ID))
		l.must(h.Pause(l.ctx, s.ID))
		l.must(h.Stop(l.ctx, s.ID, driver.Force))
	}
}

// emulators are the living processes that use the lab's registry.
func emulators(l *lab) (alive []string) {
	outputs, _ := filepath.Glob("/proc/[0-9]*/fd/1")
	for _, path := range outputs {
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, l.cfg.Dir) {
			alive = append(alive, strings.Split(path, "/")[2])
		}
	}
	return alive
}

// A guest that shut itself down while no driver was there is told from a crash:
// its QEMU waits to be asked.
func TestShutdownUnwatched(t *testing.T) {
	l := newLab(t, nil)
	s := l.bootable(1, l.dir, 1<<20, powerOff)
	l.must(l.h.Create(l.ctx, s))
	l.must(l.h.Start(l.ctx, s.ID))
	l.must(l.h.Close()) // the BIOS takes longer than that
	l.monitor(s.ID, "shutdown")
	l.open()
	if st := l.becomes(s.ID, driver.Stopped); st.Reason != "the guest shut down" {
		t.Errorf("reason is %q", st.Reason)
	}
}

// powerOff is a boot sector that switches the machine off by APM.
var powerOff = []byte{
	0xb8, 0x01, 0x53, 0x31, 0xdb, 0xcd, 0x15, // mov ax, 5301h; xor bx, bx; int 15h (connect)
	0xb8, 0x0e, 0x53, 0x31, 0xdb, 0xb9, 0x02, 0x01, 0xcd, 0x15, // mov ax, 530eh; xor bx, bx; mov cx, 102h; int 15h (version 1.2)
	0xb8, 0x07, 0x53, 0xbb, 0x01, 0x00, 0xb9, 0x03, 0x00, 0xcd, 0x15, // mov ax, 5307h; mov bx, 1; mov cx, 3; int 15h (off)
	0xeb, 0xfe, // and stay here
}
