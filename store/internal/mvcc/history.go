package mvcc

import (
	"fmt"
	"strings"

	"github.com/shakenfist/cloud/store"
)

// History holds the newest revisions, whole and without gaps, up to a bound.
type History struct {
	// MaxRevisions and MaxBytes (of keys and values changed) bound what is held;
	// beyond either the oldest revisions are compacted.
	MaxRevisions int
	MaxBytes     int

	entries []entry // of consecutive revisions; the first has a snapshot but no changes
	bytes   int
}

type entry struct {
	snapshot Snapshot
	events   []store.Event
	bytes    int
}

// Start begins the history at a snapshot, which becomes the oldest one held.
func (h *History) Start(s Snapshot) {
	h.entries, h.bytes = []entry{{snapshot: s}}, 0
}

// Add appends a step, if it changed any key.
func (h *History) Add(step Step) {
	if len(step.Batch.Events) == 0 {
		return
	}
	e := entry{snapshot: step.After.Snapshot, events: step.Batch.Events}
	for _, ev := range e.events {
		e.bytes += len(ev.Key) + len(ev.Value)
	}
	h.entries = append(h.entries, e)
	h.bytes += e.bytes
	over, bytes := 0, h.bytes
	for over+1 < len(h.entries) && (len(h.entries)-over > h.MaxRevisions || bytes > h.MaxBytes) {
		over++
		bytes -= h.entries[over].bytes
	}
	h.drop(over)
}

// Oldest is the oldest revision whose snapshot is held; watches may start there.
func (h *History) Oldest() store.Revision { return h.entries[0].snapshot.Revision }

// Newest is the revision of the last step added.
func (h *History) Newest() store.Revision { return h.entries[len(h.entries)-1].snapshot.Revision }

// At returns the snapshot of revision r: store.ErrCompacted when it is no longer
// held, store.ErrInvalid when it is yet to come.
func (h *History) At(r store.Revision) (Snapshot, error) {
	switch {
	case r < h.Oldest():
		return Snapshot{}, h.compacted(r)
	case r > h.Newest():
		return Snapshot{}, h.future(r)
	}
	return h.entries[r-h.Oldest()].snapshot, nil
}

// Compact forgets what was before revision r.
func (h *History) Compact(r store.Revision) error {
	if r > h.Newest() {
		return h.future(r)
	}
	if r > h.Oldest() {
		h.drop(int(r - h.Oldest()))
	}
	return nil
}

// Next returns the first batch below prefix of a revision greater than after. Without
// one it returns a progress mark at the newest revision, and false when even
// that is not greater than after.
func (h *History) Next(prefix string, after store.Revision) (store.Batch, bool, error) {
	if after < h.Oldest() {
		return store.Batch{}, false, h.compacted(after)
	}
	if after >= h.Newest() {
		return store.Batch{}, false, nil
	}
	for _, e := range h.entries[after-h.Oldest()+1:] {
		if events := below(prefix, e.events); events != nil {
			return store.Batch{Revision: e.snapshot.Revision, Events: events}, true, nil
		}
	}
	return store.Batch{Revision: h.Newest()}, true, nil
}

// below returns a copy of those events whose key starts with prefix.
func below(prefix string, events []store.Event) []store.Event {
	n := 0
	for i := range events {
		if strings.HasPrefix(events[i].Key, prefix) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := make([]store.Event, 0, n)
	for _, ev := range events {
		if strings.HasPrefix(ev.Key, prefix) {
			out = append(out, ev)
		}
	}
	return out
}

// drop forgets the n oldest entries, and the changes (not the snapshot) of the
// one that is then the oldest.
func (h *History) drop(n int) {
	if n == 0 {
		return
	}
	for _, e := range h.entries[:n+1] {
		h.bytes -= e.bytes
	}
	h.entries[n].events, h.entries[n].bytes = nil, 0
	clear(h.entries[:n])
	h.entries = h.entries[n:]
}

func (h *History) compacted(r store.Revision) error {
	return fmt.Errorf("%w: revision %d, the oldest held is %d", store.ErrCompacted, r, h.Oldest())
}

func (h *History) future(r store.Revision) error {
	return fmt.Errorf("%w: revision %d is in the future, the newest is %d", store.ErrInvalid, r, h.Newest())
}
