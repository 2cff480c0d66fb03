package netfabtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Between each fabric of a sequence and the one before a process is killed at each
// second point, and the next one completes what it began; at the others a change fails,
// and the same process does.
func testBetween(t *testing.T, h Host) {
	before := h.Text()
	from := netfab.Desired{}
	for _, s := range states(h.Underlay) {
		for at := 0; ; at++ {
			failure := netfab.ErrAborted
			if at%2 == 1 {
				failure = errors.New("broken by the test")
			}
			apply(t, h.open(t), from)
			left, what := at, ""
			f := h.openHook(t, tag, func(change string) error {
				if !isChange(change) {
					return nil
				}
				if left--; left == -1 {
					what = change
					return failure
				}
				return nil
			})
			err := f.Apply(context.Background(), s.want)
			if left >= 0 {
				break
			}
			if !errors.Is(err, failure) {
				t.Errorf("%s, failed at %q: Apply returned %v", s.name, what, err)
			}
			if at%2 == 0 {
				f = h.open(t)
			}
			complete(t, f, s.want)
			have, err := h.open(t).Observe(context.Background())
			if err != nil {
				t.Fatalf("%s, %v at %q: Observe: %v", s.name, failure, what, err)
			}
			if got, want := have.String(), Expected(s.want).String(); got != want {
				t.Errorf("%s, %v at %q: observed:\n%swant:\n%s", s.name, failure, what, indent(got), indent(want))
			}
		}
		from = s.want
	}
	h.gone(t, h.open(t), before)
}

// complete applies until it works: the kernel takes its time to remove a namespace that
// got no name, and what is in it is in the way until then.
func complete(t *testing.T, f netfab.Fabric, want netfab.Desired) {
	t.Helper()
	err := f.Apply(context.Background(), want)
	for tries := 0; err != nil && tries < 500; tries++ {
		time.Sleep(10 * time.Millisecond)
		err = f.Apply(context.Background(), want)
	}
	if err != nil {
		t.Fatalf("the next Apply: %v", err)
	}
}
