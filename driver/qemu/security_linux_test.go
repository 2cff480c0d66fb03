package qemu_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// A machine's process is nobody, may gain nothing, is filtered, limited, and
// owns none of the files it uses.
func TestConfined(t *testing.T) {
	l := newLab(t, func(c *qemu.Config) { c.UIDBase, c.UIDCount = 300000, 2 })
	one := pc.WithDisks(t, pc.Spec(l.dir, 1))
	first := l.run(one)
	second := l.run(pc.WithDisks(t, pc.Spec(l.dir, 2)))
	if a, b := status(t, first.PID, "Uid"), status(t, second.PID, "Uid"); a != same(300000) || b != same(300001) {
		t.Errorf("users are %q and %q", a, b)
	}
	for field, want := range map[string]string{
		"Gid": same(300000), "Groups": "", "NoNewPrivs": "1", "Seccomp": "2",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": status(t, os.Getpid(), "CapBnd"),
	} {
		if got := status(t, first.PID, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if got := session(t, first.PID); got != first.PID {
		t.Errorf("the process is in session %d and may be ended with ours", got)
	}
	for path, want := range map[string]os.FileMode{
		one.Disks[0].Path: 0o600, l.cfg.Dir: 0o700, one.Dir: 0o700,
		filepath.Join(l.cfg.Dir, "machines", one.ID): 0o700, filepath.Join(one.Dir, "console.log"): 0o600,
	} {
		st, err := os.Stat(path)
		l.must(err)
		if st.Mode().Perm() != want || st.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("%s has mode %v and user %d", path, st.Mode(), st.Sys().(*syscall.Stat_t).Uid)
		}
	}

	// The range is what it is; a destroyed machine's user is free again.
	third := pc.WithDisks(t, pc.Spec(l.dir, 3))
	if err := l.h.Create(l.ctx, third); err == nil || !strings.Contains(err.Error(), "UIDCount") {
		t.Errorf("a third machine with two users: %v", err)
	}
	l.must(l.h.Destroy(l.ctx, one.ID))
	if got := status(t, l.run(third).PID, "Uid"); got != same(300000) {
		t.Errorf("the third machine's user is %q", got)
	}
}

func TestCgroup(t *testing.T) {
	l := newLab(t, func(c *qemu.Config) { c.Cgroup = "sf-cgrouptest" })
	info, err := l.h.Info(l.ctx)
	l.must(err)
	for _, note := range info.Notes {
		if strings.Contains(note, "cgroup") {
			need.Missing(t, "%s", note)
		}
	}
	s := pc.WithDisks(t, pc.Spec(l.dir, 1))
	st := l.run(s)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", st.PID))
	l.must(err)
	if !strings.Contains(string(b), "/sf-cgrouptest/"+s.ID) {
		t.Errorf("the process is in\n%s", b)
	}
	limit := func(pattern string) string {
		found, _ := filepath.Glob(pattern)
		if len(found) == 0 {
			return ""
		}
		b, _ := os.ReadFile(found[0])
		return strings.TrimSpace(string(b))
	}
	memory := limit("/sys/fs/cgroup/memory/sf-cgrouptest/"+s.ID+"/memory.limit_in_bytes") + limit("/sys/fs/cgroup/sf-cgrouptest/"+s.ID+"/memory.max")
	if want := strconv.Itoa((32 + 3 + 768) << 20); memory != want {
		t.Errorf("the memory limit is %q, want %s", memory, want)
	}
	l.must(l.h.Destroy(l.ctx, s.ID))
	l.eventually("the cgroups to go", func() bool {
		v1, _ := filepath.Glob("/sys/fs/cgroup/*/sf-cgrouptest/" + s.ID)
		v2, _ := filepath.Glob("/sys/fs/cgroup/sf-cgrouptest/" + s.ID)
		return len(v1)+len(v2) == 0
	})
}

// Without root all works but for what only root can do, and Info says so. The
// test runs itself as nobody.
func TestUnprivileged(t *testing.T) {
	if os.Getenv("SF_QEMU_NOBODY") != "" {
		asNobody(t)
		return
	}
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	dir, err := os.MkdirTemp("", "sf-nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "test") // ours may be where nobody can go
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^TestUnprivileged$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SF_QEMU_NOBODY="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestUnprivileged") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func asNobody(t *testing.T) {
	dir := os.Getenv("SF_QEMU_NOBODY")
	l := &lab{T: t, dir: dir, cfg: config(dir), ctx: t.Context()}
	l.open()
	defer l.h.Close()
	info, err := l.h.Info(l.ctx)
	l.must(err)
	if notes := strings.Join(info.Notes, "\n"); !strings.Contains(notes, "own user 65534") || !strings.Contains(notes, "cgroup") {
		t.Errorf("notes are %q", notes)
	}
	st := l.run(pc.WithDisks(t, pc.Spec(dir, 1)))
	if got := status(t, st.PID, "Uid"); got != same(65534) {
		t.Errorf("user is %q", got)
	}
	l.must(l.h.Destroy(l.ctx, st.ID))
}

// status is a field of /proc/PID/status.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s of process %d", field, pid)
	return ""
}

// same is how a process that is one user through and through looks.
func same(id int) string { return fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", id) }

func session(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	sid, _ := strconv.Atoi(fields[3])
	return sid
}
