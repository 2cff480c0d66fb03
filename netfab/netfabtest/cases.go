package netfabtest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/netfab"
)

// Each fabric of a sequence is made from the one before.
func testChanges(t *testing.T, h Host) {
	before := h.Text()
	f := h.open(t)
	for _, s := range states(h.Underlay) {
		t.Log(s.name)
		apply(t, f, s.want)
	}
	h.gone(t, f, before)
}

// A new process goes on where the one before stopped.
func testRestart(t *testing.T, h Host) {
	before := h.Text()
	for _, s := range states(h.Underlay) {
		t.Log(s.name)
		apply(t, h.open(t), s.want)
		check(t, h.open(t), s.want) // who has applied nothing yet sees it too
	}
	h.gone(t, h.open(t), before)
}

// What is as wanted is not touched, by the same process or a new one.
func testIdempotent(t *testing.T, h Host) {
	for _, s := range states(h.Underlay) {
		var changes []string
		f := h.openHook(t, tag, func(what string) error {
			if isChange(what) {
				changes = append(changes, what)
			}
			return nil
		})
		apply(t, f, s.want)
		once := h.Text()
		for i, f := range []netfab.Fabric{f, h.openHook(t, tag, func(what string) error {
			if isChange(what) {
				changes = append(changes, what)
			}
			return nil
		})} {
			changes = nil
			apply(t, f, s.want)
			if len(changes) > 0 {
				t.Errorf("%s: applied again by process %d, it changed: %q", s.name, i+1, changes)
			}
			if twice := h.Text(); twice != once {
				t.Errorf("%s: applied twice, the host changed:\n%s", s.name, difference(once, twice))
			}
		}
	}
}

// From everything to each fabric, and back.
func testShrink(t *testing.T, h Host) {
	f := h.open(t)
	for _, s := range states(h.Underlay) {
		t.Log(s.name)
		apply(t, f, Broken())
		apply(t, f, s.want)
	}
}

// An Apply that is killed at any point is completed by the next process, and
// what it began is removed by the next that wants nothing.
func testKilled(t *testing.T, h Host) {
	before := h.Text()
	for _, s := range []struct {
		name     string
		from, to netfab.Desired
	}{
		{"create", netfab.Desired{}, Broken()},
		{"change", Broken(), otherOutside(Network(1, 1))},
		{"delete", Broken(), netfab.Desired{}},
	} {
		for at := 0; ; at++ {
			apply(t, h.open(t), s.from)
			killed, after := h.kill(t, s.to, at)
			if !killed {
				if at == 0 {
					t.Fatalf("%s: nothing to be killed at", s.name)
				}
				t.Logf("%s: killed at %d points", s.name, at)
				break
			}
			f := h.open(t)
			if _, err := f.Observe(context.Background()); err != nil {
				t.Fatalf("%s, killed at %q: Observe: %v", s.name, after, err)
			}
			if at%2 == 0 {
				t.Logf("%s: killed at %q", s.name, after)
				apply(t, f, s.to)
			}
			h.gone(t, f, before)
			if t.Failed() {
				t.Fatalf("%s: killed at %q", s.name, after)
			}
		}
	}
}

// kill applies and dies before the change number at (from 0), which it names.
func (h Host) kill(t *testing.T, want netfab.Desired, at int) (killed bool, what string) {
	t.Helper()
	f := h.openHook(t, tag, func(change string) error {
		if !isChange(change) {
			return nil
		}
		if at--; at < 0 {
			if what == "" {
				what = change
			}
			return netfab.ErrAborted
		}
		return nil
	})
	err := f.Apply(context.Background(), want)
	if err != nil && !errors.Is(err, netfab.ErrAborted) {
		t.Fatalf("killed at %q, Apply: %v", what, err)
	}
	return err != nil, what
}

// A change that fails is an error; the same process tries again.
func testFailing(t *testing.T, h Host) {
	broken := errors.New("broken by the test")
	for at := 0; ; at++ {
		left := at
		var what string
		f := h.openHook(t, tag, func(change string) error {
			if !isChange(change) {
				return nil
			}
			if left--; left == -1 {
				what = change
				return broken
			}
			return nil
		})
		err := f.Apply(context.Background(), Broken())
		if left >= 0 {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if !errors.Is(err, broken) {
			t.Fatalf("failed at %q: Apply returned %v", what, err)
		}
		for id := range networkErrors(err) {
			for _, n := range Broken().Networks {
				if id != "" && n.ID != id && len(networkErrors(err)) == 1 {
					checkNetwork(t, f, n)
				}
			}
		}
		apply(t, f, Broken())
		apply(t, f, netfab.Desired{})
	}
}

// checkNetwork checks that one network is as wanted, whatever the others are.
func checkNetwork(t *testing.T, f netfab.Fabric, want netfab.Network) {
	t.Helper()
	have, err := f.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range have.Networks {
		if n.ID == want.ID {
			got := netfab.Observed{Networks: []netfab.Network{n}}.String()
			if want := (netfab.Observed{Networks: []netfab.Network{want}}).String(); got != want {
				t.Errorf("observed:\n%swant:\n%s", indent(got), indent(want))
			}
			return
		}
	}
	t.Errorf("network %s is missing", want.ID)
}

// What has our name and is not ours stays, and costs its network only.
func testForeign(t *testing.T, h Host) {
	one, two, three := Network(1, 1), Network(2, 1), Network(3, 1)
	h.Occupy(tag, two.VNI)
	before := h.Text()
	f := h.open(t)
	err := f.Apply(context.Background(), desired(one, two, three))
	if errs := networkErrors(err); len(errs) != 1 || !errors.Is(errs[two.ID], netfab.ErrForeign) {
		t.Errorf("Apply over something foreign: %v, want ErrForeign for network %s", err, two.ID)
	}
	check(t, f, desired(one, three))
	h.gone(t, h.open(t), before)
}

// A network that cannot be costs itself only, and what is of it stays.
func testInvalid(t *testing.T, h Host) {
	before := h.Text()
	f := h.open(t)
	good, bad := Network(1, 1), Network(2, 2)
	apply(t, f, desired(good, bad))
	wrong := bad.Clone()
	wrong.Ports[1].Addr = wrong.Ports[0].Addr
	err := f.Apply(context.Background(), desired(Network(1, 2), wrong))
	if errs := networkErrors(err); len(errs) != 1 || !errors.Is(errs[bad.ID], netfab.ErrInvalid) {
		t.Errorf("Apply of two ports with one address: %v, want ErrInvalid for network %s", err, bad.ID)
	}
	check(t, f, desired(Network(1, 2), bad))
	host := desired(good)
	host.Outside.Prefix = Network(1, 0).Prefix // overlaps the network
	if err := f.Apply(context.Background(), host); !errors.Is(err, netfab.ErrInvalid) {
		t.Errorf("Apply of an outside that overlaps a network: %v, want ErrInvalid", err)
	}
	h.gone(t, f, before)
}

// A context that is done does nothing.
func testCancelled(t *testing.T, h Host) {
	before := h.Text()
	f := h.open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Apply(ctx, Broken()); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v, want context.Canceled", err)
	}
	if _, err := f.Observe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Observe: %v, want context.Canceled", err)
	}
	h.gone(t, f, before)
}

// Two fabrics with different tags on one host do not see each other.
func testTwoTags(t *testing.T, h Host) {
	empty := h.Text()
	mine, other := Broken(), otherOutside(Network(1, 2))
	a := h.openHook(t, tag, nil)
	apply(t, a, mine)
	alone := h.Text()
	b := h.openHook(t, tag+"-2", nil)
	check(t, b, netfab.Desired{})
	apply(t, b, other)
	check(t, a, mine)
	apply(t, a, mine)
	check(t, b, other)
	h.gone(t, b, alone)
	check(t, a, mine)
	h.gone(t, a, empty)
}

// Whatever somebody breaks is whole after the next Apply, and no more broken
// things lead to an error on the way.
func testDrift(t *testing.T, h Host) {
	before := h.Text()
	for _, name := range slices.Sorted(maps.Keys(h.Breaks)) {
		f := h.open(t)
		apply(t, f, Broken())
		whole := h.Text()
		h.Breaks[name]()
		if h.Text() == whole {
			t.Errorf("%s: broke nothing", name)
		}
		apply(t, f, Broken())
		if after := h.Text(); after != whole {
			t.Errorf("%s: not repaired:\n%s", name, difference(whole, after))
		}
		h.Breaks[name]() // and with a process that has never seen it whole
		apply(t, h.open(t), Broken())
		h.Breaks[name]() // and away
		h.gone(t, f, before)
		if t.Failed() {
			return
		}
	}
}

// Many networks at once.
func testMany(t *testing.T, h Host) {
	before := h.Text()
	count := h.Networks
	if count == 0 {
		count = 50
	}
	var networks []netfab.Network
	for i := range count {
		networks = append(networks, Network(i+1, 2))
	}
	f := h.open(t)
	apply(t, f, desired(networks...))
	apply(t, f, desired(networks[count/2:]...))
	h.gone(t, f, before)
}

// Calls from many goroutines come one after the other; what was applied last holds.
func testConcurrent(t *testing.T, h Host) {
	before := h.Text()
	f := h.open(t)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			if err := f.Apply(context.Background(), desired(Network(1, i))); err != nil {
				t.Errorf("Apply: %v", err)
			}
			if _, err := f.Observe(context.Background()); err != nil {
				t.Errorf("Observe: %v", err)
			}
		})
	}
	group.Wait()
	apply(t, f, Broken())
	h.gone(t, f, before)
}

// Where a tap will be is known before it is.
func testAttachment(t *testing.T, h Host) {
	f, later := h.open(t), h.open(t)
	seen := map[netfab.Attachment]bool{}
	for i := range 20 {
		n := Network(i+1, 20)
		for _, p := range n.Ports {
			at := f.Attachment(n.ID, n.VNI, p.ID)
			if len(at.Tap) == 0 || len(at.Tap) > 15 {
				t.Fatalf("tap %q is not an interface name", at.Tap)
			}
			if seen[at] {
				t.Fatalf("port %s of %s has the place of another: %v", p.ID, n.ID, at)
			}
			seen[at] = true
			if again := later.Attachment(n.ID, n.VNI, p.ID); again != at {
				t.Fatalf("port %s is at %v for one process and at %v for another", p.ID, at, again)
			}
		}
	}
}

// Frames of what is not there are an error that says so; others end with their
// network.
func testFrames(t *testing.T, h Host) {
	f := h.open(t)
	n := Network(1, 1)
	if _, err := f.Frames(context.Background(), n.ID); !errors.Is(err, netfab.ErrNotFound) {
		t.Errorf("Frames of a network that is not there: %v, want ErrNotFound", err)
	}
	apply(t, f, desired(n))
	for _, f := range []netfab.Fabric{f, h.open(t)} {
		frames, err := f.Frames(context.Background(), n.ID)
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		if err != nil {
			t.Fatalf("Frames: %v", err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := frames.Read(make([]byte, 1<<16))
			ended <- err
		}()
		if err := frames.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("a Read went on after Close")
		}
	}
	frames, err := f.Frames(context.Background(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, f, netfab.Desired{})
	if _, err := frames.Read(make([]byte, 1<<16)); err == nil {
		t.Error("a Read went on after its network")
	}
}
