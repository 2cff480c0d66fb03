package record

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// maxEvents is how many events an object keeps; the oldest go first.
const maxEvents = 64

// Event adds e to t. An event that repeats the object's last one is counted
// there instead, so that something that fails for hours stays one line.
func (c *Client) Event(ctx context.Context, t *Txn, e spec.Event) error {
	prefix := EventPrefix(e.Kind, e.Object)
	have, _, _, err := List[spec.Event](ctx, c, prefix, store.Page{})
	if err != nil {
		return err
	}
	if n := len(have); n > 0 && repeats(have[n-1].Value, e) {
		last := have[n-1].Value
		last.Count = max(last.Count, 1) + 1
		last.Last = e.Time
		t.put(0, have[n-1].Key, last, have[n-1].raw)
		return nil
	}
	for i := 0; i <= len(have)-maxEvents; i++ {
		t.Delete(have[i].Key)
	}
	last := ""
	if n := len(have); n > 0 {
		last = have[n-1].Value.ID
	}
	e.ID = OrderedID(e.Time, last, c.newID())
	t.Put(prefix+e.ID, e)
	return nil
}

// OrderedID makes an ID that sorts by time, and in any case behind last, which may have been
// made by a clock that was ahead.
func OrderedID(at time.Time, last, unique string) string {
	n := uint64(at.UnixNano())
	if len(last) >= 16 {
		if was, err := strconv.ParseUint(last[:16], 16, 64); err == nil && was >= n {
			n = was + 1
		}
	}
	return fmt.Sprintf("%016x-%.8s", n, unique)
}

func repeats(last, e spec.Event) bool {
	return last.Operation == e.Operation && last.Phase == e.Phase && last.Message == e.Message && last.Node == e.Node
}
