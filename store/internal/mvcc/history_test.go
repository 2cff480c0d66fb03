package mvcc

import (
	"errors"
	"fmt"
	"testing"

	"github.com/shakenfist/cloud/store"
)

// grown returns a history with the revisions 1 to n, each of one key "k/<n>" of 10 bytes.
func grown(t *testing.T, h History, n int) *History {
	t.Helper()
	var s State
	h.Start(s.Snapshot)
	for i := 1; i <= n; i++ {
		var step Step
		var err error
		s, step, err = s.Commit(store.Txn{Do: []store.Op{store.Put(fmt.Sprintf("k/%d", i), make([]byte, 7))}})
		if err != nil {
			t.Fatal(err)
		}
		h.Add(step)
	}
	return &h
}

func TestHistoryBounds(t *testing.T) {
	for _, c := range []struct {
		revisions, bytes, commits int
		oldest                    store.Revision
	}{
		{100, 1 << 20, 9, 0},
		{10, 1 << 20, 9, 0}, // the start and nine commits
		{9, 1 << 20, 9, 1},  // one too many
		{3, 1 << 20, 9, 7},
		{1, 1 << 20, 9, 9}, // the newest snapshot is always held
		{100, 90, 9, 0},    // nine commits of ten bytes
		{100, 89, 9, 1},
		{100, 10, 9, 8},
		{100, 1, 9, 9}, // even when it is over the bound
		{3, 1 << 20, 0, 0},
	} {
		h := grown(t, History{MaxRevisions: c.revisions, MaxBytes: c.bytes}, c.commits)
		if h.Oldest() != c.oldest || h.Newest() != store.Revision(c.commits) {
			t.Errorf("%+v: history from %d to %d", c, h.Oldest(), h.Newest())
		}
		held := 0
		for _, e := range h.entries {
			held += e.bytes
		}
		if held != h.bytes {
			t.Errorf("%+v: %d bytes counted as %d", c, held, h.bytes)
		}
	}
}

func TestHistoryNext(t *testing.T) {
	h := grown(t, History{MaxRevisions: 100, MaxBytes: 1 << 20}, 9)
	if err := h.Compact(3); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		prefix string
		after  store.Revision
		want   string
	}{
		{"", 2, "compacted"},
		{"", 3, "4 k/4"},
		{"k/", 8, "9 k/9"},
		{"k/7", 3, "7 k/7"},
		{"k/7", 7, "9 mark"},
		{"none", 3, "9 mark"},
		{"k/3", 3, "9 mark"}, // what was compacted is not delivered
		{"", 9, "nothing"},
		{"", 12, "nothing"}, // the future is waited for
	} {
		b, ok, err := h.Next(c.prefix, c.after)
		got := "nothing"
		switch {
		case errors.Is(err, store.ErrCompacted):
			got = "compacted"
		case ok && len(b.Events) == 0:
			got = fmt.Sprint(b.Revision, " mark")
		case ok:
			got = fmt.Sprint(b.Revision, " ", b.Events[0].Key)
		}
		if got != c.want {
			t.Errorf("next of %q after %d is %s, want %s", c.prefix, c.after, got, c.want)
		}
	}
}

// A watcher may do what it likes with the events it got.
func TestHistoryNextCopies(t *testing.T) {
	h := grown(t, History{MaxRevisions: 100, MaxBytes: 1 << 20}, 1)
	a, _, _ := h.Next("", 0)
	a.Events[0].Key = "changed"
	if b, _, _ := h.Next("", 0); b.Events[0].Key != "k/1" {
		t.Fatalf("another watcher gets %q", b.Events[0].Key)
	}
}

func TestHistoryAt(t *testing.T) {
	h := grown(t, History{MaxRevisions: 4, MaxBytes: 1 << 20}, 9)
	for r := store.Revision(0); r < 12; r++ {
		s, err := h.At(r)
		switch {
		case r < 6:
			if !errors.Is(err, store.ErrCompacted) {
				t.Errorf("at %d: %v", r, err)
			}
		case r > 9:
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("at %d: %v", r, err)
			}
		case err != nil || s.Revision != r || s.Len() != int(r):
			t.Errorf("at %d: revision %d with %d keys, %v", r, s.Revision, s.Len(), err)
		}
	}
}
