// Package memory is a store.Store in the memory of one process, for tests,
// simulations and clouds that need not survive their process.
//
// It starts no goroutine and, given a clock, is deterministic: the same calls in
// the same order give the same revisions, events and session IDs.
package memory

import (
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/engine"
	"github.com/shakenfist/cloud/store/internal/mvcc"
)

// Config of a store. Its zero value is good.
type Config struct {
	// Now is the clock that sessions live by; nil is time.Now. A Watcher.Next that
	// waits for the end of a session waits in real time whatever the clock, so
	// with a clock of your own poll, by a context that is done.
	Now func() time.Time
	// History is how many revisions are kept for watches and snapshots; older ones
	// are compacted by themselves. 0 is 10,000.
	History int
	// HistoryBytes bounds the same by the size of keys and values. 0 is 64 MiB.
	HistoryBytes int
}

// New returns an empty store at revision 0. Sessions end when a call finds that
// their time is over; a waiting watch finds it without a call.
func New(c Config) store.Store {
	return engine.New(mvcc.State{}, engine.Config{Now: c.Now, Revisions: c.History, Bytes: c.HistoryBytes})
}
