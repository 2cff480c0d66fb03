package fake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
)

func spec(n int) driver.Spec {
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
	return driver.Spec{ID: id, Name: fmt.Sprintf("m%d", n), CPUs: 1, MemoryMiB: 64, Dir: "/x/" + id,
		Video: driver.Video{Model: "none"}}
}

// started returns a host with one machine that runs.
func started(t *testing.T, cfg fake.Config) (*fake.Host, *fake.Hypervisor, string) {
	t.Helper()
	h := fake.NewHost(cfg)
	v := h.Hypervisor()
	s := spec(1)
	must(t, v.Create(t.Context(), s))
	must(t, v.Start(t.Context(), s.ID))
	return h, v, s.ID
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, v *fake.Hypervisor, id string) driver.State {
	t.Helper()
	s, err := v.Inspect(t.Context(), id)
	must(t, err)
	return s.State
}

func TestGuests(t *testing.T) {
	tests := []struct {
		name string
		act  func(h *fake.Host, v *fake.Hypervisor, id string) error
		want driver.State
	}{
		{"shutdown", func(h *fake.Host, v *fake.Hypervisor, id string) error { return h.Shutdown(id) }, driver.Stopped},
		{"crash", func(h *fake.Host, v *fake.Hypervisor, id string) error { return h.Crash(id, "signal 9") }, driver.Crashed},
		{"stall", func(h *fake.Host, v *fake.Hypervisor, id string) error { return h.Stall(id) }, driver.Stalled},
		{"fill", func(h *fake.Host, v *fake.Hypervisor, id string) error { h.Fill(); return nil }, driver.Stalled},
		{"fill and resume", func(h *fake.Host, v *fake.Hypervisor, id string) error {
			h.Fill()
			return v.Resume(context.Background(), id)
		}, driver.Stalled},
		{"make room", func(h *fake.Host, v *fake.Hypervisor, id string) error {
			h.Fill()
			h.MakeRoom()
			return nil
		}, driver.Running},
		{"host reboot", func(h *fake.Host, v *fake.Hypervisor, id string) error { h.Reboot(); return nil }, driver.Defined},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, v, id := started(t, fake.Config{})
			must(t, tt.act(h, v, id))
			if got := state(t, v, id); got != tt.want {
				t.Fatalf("state %s, want %s", got, tt.want)
			}
		})
	}
}

func TestGuestScripts(t *testing.T) {
	for after, want := range map[string]driver.State{
		"": driver.Running, "shutdown": driver.Stopped, "crash": driver.Crashed,
	} {
		_, v, id := started(t, fake.Config{Guest: func(driver.Spec) fake.Guest { return fake.Guest{After: after} }})
		if got := state(t, v, id); got != want {
			t.Errorf("after %q: %s, want %s", after, got, want)
		}
	}
	_, v, id := started(t, fake.Config{Guest: func(driver.Spec) fake.Guest { return fake.Guest{IgnoresPower: true} }})
	must(t, v.Stop(t.Context(), id, driver.Graceful))
	if got := state(t, v, id); got != driver.Running {
		t.Errorf("a guest that ignores its power button is %s", got)
	}
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	_, v, id := started(t, fake.Config{Now: func() time.Time { return now }})
	s, err := v.Inspect(t.Context(), id)
	must(t, err)
	if !s.Since.Equal(now) || s.Boot != 1 || s.PID == 0 {
		t.Fatalf("status %+v", s)
	}
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	h := fake.NewHost(fake.Config{})
	v, s := h.Hypervisor(), spec(1)
	must(t, v.Create(t.Context(), s))

	h.Fault(fake.Fault{Method: "Start", Nth: 2, Err: boom})
	must(t, v.Start(t.Context(), s.ID))
	if err := v.Start(t.Context(), s.ID); !errors.Is(err, boom) {
		t.Fatalf("second start: %v", err)
	}
	must(t, v.Start(t.Context(), s.ID))

	h.Fault(fake.Fault{Method: "Stop", After: true, Err: boom})
	if err := v.Stop(t.Context(), s.ID, driver.Force); !errors.Is(err, boom) {
		t.Fatalf("stop: %v", err)
	}
	if got := state(t, v, s.ID); got != driver.Defined {
		t.Fatalf("a call whose reply was lost did not take effect: %s", got)
	}

	h.Heal()
	h.Fault(fake.Fault{Method: "Start", Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Start(ctx, s.ID); !errors.Is(err, context.Canceled) {
		t.Fatalf("hanging start: %v", err)
	}
	if got := state(t, v, s.ID); got != driver.Defined {
		t.Fatalf("a start that hung took effect: %s", got)
	}
	if h.Calls("Start") != 4 {
		t.Fatalf("%d starts counted", h.Calls("Start"))
	}
}

func TestHookSeesBothSides(t *testing.T) {
	var seen []string
	h := fake.NewHost(fake.Config{Hook: func(_ context.Context, c fake.Call) error {
		seen = append(seen, fmt.Sprint(c.Method, c.N, c.Done))
		return nil
	}})
	must(t, h.Hypervisor().Create(t.Context(), spec(1)))
	_, err := h.Volumes().List(t.Context())
	must(t, err)
	want := "[Create1 false Create1 true Volumes.List1 false Volumes.List1 true]"
	if fmt.Sprint(seen) != want {
		t.Fatalf("got %v, want %v", seen, want)
	}
}

func TestConsoleAnswers(t *testing.T) {
	h, v, id := started(t, fake.Config{Guest: func(driver.Spec) fake.Guest {
		return fake.Guest{Answer: func(in []byte) []byte { return []byte(strings.ToUpper(string(in))) }}
	}})
	c, err := v.Console(t.Context(), id)
	must(t, err)
	_, err = io.WriteString(c, "hello")
	must(t, err)
	must(t, h.Shutdown(id))
	got, err := io.ReadAll(c)
	if string(got) != "HELLO" || err != nil {
		t.Fatalf("read %q, %v", got, err)
	}
	if h.Typed(id) != "hello" {
		t.Fatalf("typed %q", h.Typed(id))
	}
	must(t, c.Close())
}

func TestConsoleLogIsBounded(t *testing.T) {
	h, v, id := started(t, fake.Config{})
	for range 40 {
		must(t, h.Print(id, strings.Repeat("x", 10000)))
	}
	p := make([]byte, 1<<20)
	n, end, err := v.ConsoleLog(t.Context(), id, 0, p)
	must(t, err)
	if n != 256<<10 || end <= int64(n) {
		t.Fatalf("n %d, end %d", n, end)
	}
}

// What a neighbour has is not downloaded; of one that cannot be reached it is.
func TestNeighbours(t *testing.T) {
	a := fake.NewHost(fake.Config{})
	b := fake.NewHost(fake.Config{Neighbour: func(name string) *fake.Host { return map[string]*fake.Host{"a": a}[name] }})
	for _, name := range []string{"here", "there"} {
		_, err := a.Volumes().Fetch(t.Context(), driver.ImageRef{Name: name, Near: []string{"b"}}, nil)
		must(t, err)
	}
	for name, near := range map[string][]string{"here": {"a"}, "there": {"nobody"}, "new": {"a"}} {
		_, err := b.Volumes().Fetch(t.Context(), driver.ImageRef{Name: name, Near: near}, nil)
		must(t, err)
	}
	if a.Fetches() != 2 || a.Copied() != 0 || b.Fetches() != 2 || b.Copied() != 1 {
		t.Errorf("downloads %d and %d, copies %d and %d", a.Fetches(), b.Fetches(), a.Copied(), b.Copied())
	}
}

func TestVolumes(t *testing.T) {
	ctx := t.Context()
	h := fake.NewHost(fake.Config{})
	v := h.Volumes()
	img, err := v.Fetch(ctx, driver.ImageRef{Name: "cirros"}, nil)
	must(t, err)
	again, err := v.Fetch(ctx, driver.ImageRef{Name: "cirros"}, func(driver.Progress) { t.Error("a cached image was downloaded") })
	must(t, err)
	if img != again || h.Fetches() != 1 {
		t.Fatalf("%+v, %+v, %d fetches", img, again, h.Fetches())
	}
	want := []driver.Volume{
		{Device: "vda", Bus: "virtio", Size: 8 << 30, Image: img.ID},
		{Device: "vdb", Bus: "virtio", Content: []byte("config")},
	}
	disks, err := v.Build(ctx, "i1", want)
	must(t, err)
	if disks[0].Format != "qcow2" || disks[1].Format != "raw" || !disks[1].ReadOnly {
		t.Fatalf("disks %+v", disks)
	}
	want[1].Content = []byte("changed")
	_, err = v.Build(ctx, "i1", want)
	must(t, err)
	if got := string(h.Content("i1", "vdb")); got != "config" {
		t.Fatalf("a volume that existed was rewritten: %q", got)
	}
	if _, err := v.Build(ctx, "i2", []driver.Volume{{Device: "vda", Size: 1, Image: img.ID}}); !errors.Is(err, driver.ErrInvalid) {
		t.Fatalf("a disk smaller than its image: %v", err)
	}
	h.Fill()
	if _, err := v.Build(ctx, "i2", []driver.Volume{{Device: "vda", Size: 1}}); !errors.Is(err, driver.ErrNoSpace) {
		t.Fatalf("building on a full disk: %v", err)
	}
	s, err := v.Space(ctx)
	must(t, err)
	if s.Free != 0 || s.Promised != 8<<30+6 {
		t.Fatalf("space %+v", s)
	}
	must(t, v.Remove(ctx, "i1"))
	must(t, v.Remove(ctx, "i1"))
	ids, err := v.List(ctx)
	must(t, err)
	if len(ids) != 0 {
		t.Fatalf("left: %v", ids)
	}
}
