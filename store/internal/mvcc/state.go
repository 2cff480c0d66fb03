// Package mvcc is the pure core of the stores that live on one machine: all keys
// at a revision as an immutable value, transactions and sessions as functions
// from one state to the next, and a bounded history of revisions.
//
// It has no clock, no lock and no goroutine. Time comes as an argument; a State
// that was thrown away leaves no trace, which is what lets a store persist a
// commit before anybody sees it.
package mvcc

import (
	"fmt"
	"slices"
	"time"

	"github.com/shakenfist/cloud/store"
)

// Snapshot is all keys at one revision. It never changes.
type Snapshot struct {
	Revision store.Revision
	records  Tree[*store.Record]
}

// State is the newest snapshot with the sessions that are open. It is a value
// that never changes: every method that would returns another one. The zero
// State is an empty store at revision 0.
type State struct {
	Snapshot
	// LastSession is the highest session ID ever given; IDs are not used twice.
	LastSession store.SessionID

	owned    Tree[struct{}] // session ID (8 bytes) and key, for each key put under a session
	sessions []Session      // sorted by ID; small, so that a copy per change is cheap
	expiry   time.Time      // the earliest deadline, zero without sessions
}

// Session is one open session.
type Session struct {
	ID       store.SessionID
	TTL      time.Duration
	Deadline time.Time // when it ends unless renewed
}

// Step is what happened between two states: the changes of one revision, a
// session opened, a session ended, or nothing.
type Step struct {
	After  State
	Batch  store.Batch     // of After.Revision; zero when no key changed
	Opened Session         // zero when none
	Ended  store.SessionID // zero when none
}

// Get returns the record of key.
func (s Snapshot) Get(key string) (store.Record, bool) {
	r, ok := s.records.Get(key)
	if !ok {
		return store.Record{}, false
	}
	return *r, true
}

// Len returns the number of keys.
func (s Snapshot) Len() int { return s.records.Len() }

// List returns one page of the keys below prefix. It does not look at page.At.
func (s Snapshot) List(prefix string, page store.Page) store.List {
	l := store.List{Records: page.Into[:0], Revision: s.Revision}
	start := prefix
	if page.After >= prefix && page.After != "" {
		start = page.After + "\x00"
	}
	if page.Into == nil {
		l.Records = s.room(prefix, start, page.Limit)
	}
	for run := range s.records.Runs(prefix, start) {
		if left := page.Limit - len(l.Records); page.Limit > 0 && len(run) > left {
			run, l.More = run[:left], true
		}
		for _, r := range run {
			l.Records = append(l.Records, *r)
		}
		if l.More {
			break
		}
	}
	return l
}

// room is memory for a page. To count is cheaper than to grow: long lists are read often.
func (s Snapshot) room(prefix, start string, limit int) []store.Record {
	n := 0
	for run := range s.records.Runs(prefix, start) {
		if n += len(run); limit > 0 && n >= limit {
			n = limit
			break
		}
	}
	if n == 0 {
		return nil
	}
	return make([]store.Record, 0, n)
}

func (s Snapshot) empty(prefix string) bool {
	for range s.records.Prefix(prefix) {
		return false
	}
	return true
}

// Load returns a state with records and sessions as they were persisted; the
// sessions get their full time from now on. Records that name a session which
// does not exist are refused.
func Load(r store.Revision, last store.SessionID, sessions []Session, records []store.Record, now time.Time) (State, error) {
	s := State{Snapshot: Snapshot{Revision: r}, LastSession: last, sessions: slices.Clone(sessions)}
	for i := range s.sessions {
		s.sessions[i].Deadline = now.Add(s.sessions[i].TTL)
		if s.sessions[i].ID > last || (i > 0 && s.sessions[i].ID <= s.sessions[i-1].ID) {
			return State{}, fmt.Errorf("session %d is out of order (last one given: %d)", s.sessions[i].ID, last)
		}
	}
	s.expiry = earliest(s.sessions)
	for i := range records {
		rec := records[i]
		if rec.Revision > r || rec.Revision <= 0 {
			return State{}, fmt.Errorf("key %q is of revision %d, the store of %d", rec.Key, rec.Revision, r)
		}
		if rec.Session != 0 {
			if _, ok := s.session(rec.Session); !ok {
				return State{}, fmt.Errorf("key %q belongs to session %d, which does not exist", rec.Key, rec.Session)
			}
		}
		s = s.put(&rec)
	}
	return s, nil
}

// Commit returns the state after txn, which must be valid (store.Txn.Validate),
// or store.ErrConflict or store.ErrSessionExpired. A transaction that changes
// nothing returns s itself and a Step without a batch. The values of txn become the
// state's own.
func (s State) Commit(txn store.Txn) (State, Step, error) {
	for _, c := range txn.If {
		if !s.holds(c) {
			return s, Step{}, fmt.Errorf("%w: %s", store.ErrConflict, c)
		}
	}
	for _, op := range txn.Do {
		if op.Session != 0 && op.Kind == store.OpPut {
			if _, ok := s.session(op.Session); !ok {
				return s, Step{}, fmt.Errorf("%w: session %d of key %q", store.ErrSessionExpired, op.Session, op.Key)
			}
		}
	}
	next, batch := s, store.Batch{Revision: s.Revision + 1}
	for _, op := range txn.Do {
		switch op.Kind {
		case store.OpPut:
			rec := &store.Record{Key: op.Key, Value: op.Value, Revision: batch.Revision, Session: op.Session}
			next = next.put(rec)
			batch.Events = append(batch.Events, store.Event{Record: *rec})
		case store.OpDelete:
			next = next.delete(op.Key, &batch)
		case store.OpDeletePrefix:
			for k := range s.records.Prefix(op.Key) {
				next = next.delete(k, &batch)
			}
		}
	}
	next, step := next.sealed(batch)
	return next, step, nil
}

// sealed makes the revision of batch that of s, when anything changed.
func (s State) sealed(batch store.Batch) (State, Step) {
	if len(batch.Events) == 0 {
		return s, Step{After: s}
	}
	s.Revision = batch.Revision
	return s, Step{After: s, Batch: batch}
}

func (s State) holds(c store.Cond) bool {
	switch c.Kind {
	case store.CondPrefixEmpty:
		return s.empty(c.Key)
	default:
		r, ok := s.records.Get(c.Key)
		switch c.Kind {
		case store.CondAbsent:
			return !ok
		case store.CondExists:
			return ok
		case store.CondRevision:
			return ok && r.Revision == c.Revision
		}
	}
	return false
}

func (s State) put(rec *store.Record) State {
	if old, ok := s.records.Get(rec.Key); ok && old.Session != 0 {
		s.owned = s.owned.Delete(ownedKey(old.Session, rec.Key))
	}
	if rec.Session != 0 {
		s.owned = s.owned.Put(ownedKey(rec.Session, rec.Key), struct{}{})
	}
	s.records = s.records.Put(rec.Key, rec)
	return s
}

func (s State) delete(key string, batch *store.Batch) State {
	old, ok := s.records.Get(key)
	if !ok {
		return s
	}
	if old.Session != 0 {
		s.owned = s.owned.Delete(ownedKey(old.Session, key))
	}
	s.records = s.records.Delete(key)
	gone := store.Record{Key: key, Revision: batch.Revision}
	batch.Events = append(batch.Events, store.Event{Record: gone, Deleted: true})
	return s
}

// Changes reports whether anything happened in the step that outlives a restart.
func (s Step) Changes() bool {
	return len(s.Batch.Events) > 0 || s.Opened.ID != 0 || s.Ended != 0
}
