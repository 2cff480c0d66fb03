package qemu

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// A question that an emulator does not answer in time is asked again: nothing else
// would ever tell what its event hinted at.
func TestHintOutlivesSilence(t *testing.T) {
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h, err := New(ctx, Config{Dir: filepath.Join(dir, "registry"), Cgroup: "none", Timeout: time.Second, Every: 100 * time.Millisecond})
	must(err)
	defer h.Close()
	spec := pc.WithDisks(t, pc.Spec(dir, 1))
	must(h.Create(ctx, spec))
	defer h.Destroy(context.WithoutCancel(ctx), spec.ID)
	must(h.Start(ctx, spec.ID))
	s := h.machines[spec.ID].session

	s.asking.Lock() // a question is under way when the machine stops
	before := s.hints.Load()
	must(s.execute(ctx, "stop", nil))
	pc.Eventually(ctx, t, "a hint", func() bool { return s.hints.Load() > before })
	must(syscall.Kill(s.child.PID, syscall.SIGSTOP))
	s.asking.Unlock()
	pc.Eventually(ctx, t, "the next question", func() bool {
		if s.asking.TryLock() {
			s.asking.Unlock()
			return false
		}
		return true
	})
	s.asking.Lock()   // it got no answer
	s.asking.Unlock() //lint:ignore SA2001 to have waited is all
	must(syscall.Kill(s.child.PID, syscall.SIGCONT))
	pc.Eventually(ctx, t, "the machine to be known as paused", func() bool {
		st, err := h.Inspect(ctx, spec.ID)
		must(err)
		return st.State == driver.Paused
	})
}
