package qemu

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// A new machine gets no user that another machine has, nor one under which somebody else runs.
func TestFreeUID(t *testing.T) {
	need.Root(t)
	const base = 1_900_000_000 // surely nobody's
	h := &Hypervisor{cfg: Config{UIDBase: base, UIDCount: 4}, machines: map[string]*machine{"a": {uid: base + 1}}}
	free := func(want int) {
		t.Helper()
		if uid, err := h.freeUID(); err != nil || uid != want {
			t.Errorf("%d, %v; want %d", uid, err, want)
		}
	}
	free(base)
	for _, uid := range []uint32{base, base + 2} {
		other := exec.Command("sleep", "1h")
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	}
	free(base + 3)
	h.machines["b"] = &machine{uid: base + 3}
	if uid, err := h.freeUID(); err == nil {
		t.Errorf("%d, although all are taken", uid)
	}
}
