// Package netfabtest proves that an implementation of netfab.Fabric keeps the
// contract: call Run from a test of its package.
package netfabtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/netfab"
)

// Host is one host, new for each test, on which fabrics can be opened.
type Host struct {
	// Open returns a new fabric on the host, as a process that starts would: it
	// finds what earlier ones with the same tag left. The hook is called before
	// every change of the host, and its error takes the place of the change;
	// netfab.ErrAborted ends the Apply there. It is called before "apply",
	// "observe" and "frames" too where the implementation wants that. The fabric
	// must look at the host at each Apply.
	Open func(tag string, hook func(what string) error) netfab.Fabric
	// Text returns everything on the host that a fabric could have made or broken,
	// in a form that is equal when the host is.
	Text func() string
	// Occupy puts something that is not ours where the network with that VNI of
	// that tag would be.
	Occupy func(tag string, vni uint32)
	// Underlay is an underlay address of the host; not valid where there is none,
	// and then the mesh is not tested.
	Underlay netip.Addr
	// Breaks are ways to damage network Broken() on the host behind the fabric's
	// back, with their names.
	Breaks map[string]func()
	// Routes tells whether the router of network Broken().Networks[0] forwards and
	// answers outside now. It is asked where the fabric is a netfab.Keeper.
	Routes func() bool
	// Networks is how many networks TestMany makes; 0 means 50.
	Networks int
}

// tag of the fabrics under test.
const tag = "netfabtest/node"

// Run runs the whole suite; newHost is called once for each test.
func Run(t *testing.T, newHost func(t *testing.T) Host) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Host)
	}{
		{"Changes", testChanges},
		{"Restart", testRestart},
		{"Idempotent", testIdempotent},
		{"Shrink", testShrink},
		{"Killed", testKilled},
		{"Failing", testFailing},
		{"Between", testBetween},
		{"Foreign", testForeign},
		{"Invalid", testInvalid},
		{"Cancelled", testCancelled},
		{"TwoTags", testTwoTags},
		{"Drift", testDrift},
		{"Many", testMany},
		{"Concurrent", testConcurrent},
		{"Attachment", testAttachment},
		{"Frames", testFrames},
		{"Keep", testKeep},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newHost(t)) })
	}
}

// open opens a fabric without a hook.
func (h Host) open(t *testing.T) netfab.Fabric { return h.openHook(t, tag, nil) }

func (h Host) openHook(t *testing.T, tag string, hook func(string) error) netfab.Fabric {
	t.Helper()
	if hook == nil {
		hook = func(string) error { return nil }
	}
	f := h.Open(tag, hook)
	t.Cleanup(func() { f.Close() })
	return f
}

// isChange tells a change of the host from the calls that a hook may see too.
func isChange(what string) bool {
	return what != "apply" && what != "observe" && what != "frames" && what != "keep"
}

// apply applies and checks that the host is as wanted.
func apply(t *testing.T, f netfab.Fabric, want netfab.Desired) {
	t.Helper()
	if err := f.Apply(context.Background(), want); err != nil {
		t.Fatalf("Apply: %v", err)
	}
	check(t, f, want)
}

// check compares what is observed with what is wanted.
func check(t *testing.T, f netfab.Fabric, want netfab.Desired) {
	t.Helper()
	have, err := f.Observe(context.Background())
	if err != nil {
		t.Fatalf("Observe: %v", err)
	}
	if got, want := have.String(), Expected(want).String(); got != want {
		t.Fatalf("observed:\n%swant:\n%s", indent(got), indent(want))
	}
}

// Expected is what must be observed after want was applied.
func Expected(want netfab.Desired) netfab.Observed {
	normal, _, _ := netfab.Normalize(want)
	o := netfab.Observed{Outside: normal.Outside, Networks: normal.Networks}
	if len(o.Networks) > 0 {
		o.Underlay.Addr = normal.Underlay.Addr
	}
	return o
}

// gone applies nothing, and checks that nothing is left.
func (h Host) gone(t *testing.T, f netfab.Fabric, before string) {
	t.Helper()
	apply(t, f, netfab.Desired{})
	if after := h.Text(); after != before {
		t.Errorf("left on the host:\n%s", difference(before, after))
	}
}

// difference shows the lines that only one of two texts has.
func difference(before, after string) string {
	count := map[string]int{}
	for _, line := range strings.Split(before, "\n") {
		count[line]--
	}
	for _, line := range strings.Split(after, "\n") {
		count[line]++
	}
	var b strings.Builder
	for _, text := range []string{before, after} {
		for _, line := range strings.Split(text, "\n") {
			switch n := count[line]; {
			case n < 0:
				fmt.Fprintf(&b, "\t- %s\n", line)
			case n > 0:
				fmt.Fprintf(&b, "\t+ %s\n", line)
			}
			count[line] = 0
		}
	}
	return b.String()
}

func indent(text string) string {
	return "\t" + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n\t") + "\n"
}

// networkErrors sorts the errors of an Apply by network.
func networkErrors(err error) map[string]error {
	found := map[string]error{}
	var walk func(error)
	walk = func(err error) {
		if n, ok := err.(*netfab.NetworkError); ok {
			found[n.Network] = n.Err
		} else if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		} else if err != nil {
			found[""] = errors.Join(found[""], err)
		}
	}
	walk(err)
	return found
}
