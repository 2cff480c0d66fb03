package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/store"
)

// LogStore is a store.Store as a log: what each revision changed, the state before
// the log begins, and the state at its end. An old snapshot is the log played
// again, a watch is a place in the log, compaction moves the beginning.
type LogStore struct {
	mu       sync.Mutex
	begin    store.Revision          // the log is of the revisions after this one
	before   map[string]store.Record // the state at begin
	log      [][]store.Event
	now      map[string]store.Record // the state at the end of the log
	sessions map[store.SessionID]*session
	last     store.SessionID
	changed  chan struct{} // closed and replaced when the log grows or the store closes
	closed   bool
}

var _ store.Store = (*LogStore)(nil)

// keep is how many revisions are held before old ones are compacted.
const keep = 10000

// NewLogStore returns an empty store.
func NewLogStore() *LogStore {
	return &LogStore{
		before: map[string]store.Record{}, now: map[string]store.Record{},
		sessions: map[store.SessionID]*session{}, changed: make(chan struct{}),
	}
}

// enter begins every call: it locks the store, if it may be used at all, and ends
// the sessions whose time is over.
func (s *LogStore) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.expire()
	return nil
}

func (s *LogStore) newest() store.Revision { return s.begin + store.Revision(len(s.log)) }

// append makes a revision of some changes, if there are any.
func (s *LogStore) append(events []store.Event) {
	if len(events) == 0 {
		return
	}
	slices.SortFunc(events, func(a, b store.Event) int { return cmp.Compare(a.Key, b.Key) })
	for i := range events {
		events[i].Revision = s.newest() + 1
	}
	s.log = append(s.log, events)
	play(s.now, events)
	if len(s.log) > keep {
		s.compact(s.newest() - keep/2)
	}
	s.wake()
}

func (s *LogStore) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// play changes a state as events say.
func play(state map[string]store.Record, events []store.Event) {
	for _, e := range events {
		if e.Deleted {
			delete(state, e.Key)
		} else {
			state[e.Key] = e.Record
		}
	}
}

// at returns the state at a revision.
func (s *LogStore) at(r store.Revision) (map[string]store.Record, error) {
	switch {
	case r == 0 || r == s.newest():
		return s.now, nil
	case r < s.begin:
		return nil, fmt.Errorf("list at revision %d: %w", r, store.ErrCompacted)
	case r > s.newest():
		return nil, fmt.Errorf("%w: revision %d is still to come", store.ErrInvalid, r)
	}
	state := maps.Clone(s.before)
	for _, events := range s.log[:r-s.begin] {
		play(state, events)
	}
	return state, nil
}

// Get implements store.Store.
func (s *LogStore) Get(ctx context.Context, key string) (store.Record, error) {
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.mu.Unlock()
	r, ok := s.now[key]
	if !ok {
		return r, fmt.Errorf("%w: %q", store.ErrNotFound, key)
	}
	return r, nil
}

// List implements store.Store.
func (s *LogStore) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	if err := s.enter(ctx); err != nil {
		return store.List{}, err
	}
	defer s.mu.Unlock()
	state, err := s.at(page.At)
	if err != nil {
		return store.List{}, err
	}
	l := store.List{Revision: cmp.Or(page.At, s.newest())}
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if !strings.HasPrefix(key, prefix) || key <= page.After {
			continue
		}
		if page.Limit > 0 && len(l.Records) == page.Limit {
			l.More = true
			break
		}
		l.Records = append(l.Records, state[key])
	}
	return l, nil
}

// Commit implements store.Store.
func (s *LogStore) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	if err := txn.Validate(); err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	for _, c := range txn.If {
		if !s.holds(c) {
			return s.newest(), fmt.Errorf("%w: %v", store.ErrConflict, c)
		}
	}
	var events []store.Event
	for _, op := range txn.Do {
		if op.Session != 0 && s.sessions[op.Session] == nil {
			return 0, fmt.Errorf("put %q: %w", op.Key, store.ErrSessionExpired)
		}
		events = append(events, s.changes(op)...)
	}
	s.append(events)
	return s.newest(), nil
}

func (s *LogStore) holds(c store.Cond) bool {
	r, exists := s.now[c.Key]
	switch c.Kind {
	case store.CondExists:
		return exists
	case store.CondAbsent:
		return !exists
	case store.CondRevision:
		return exists && r.Revision == c.Revision
	}
	for key := range s.now { // store.CondPrefixEmpty
		if strings.HasPrefix(key, c.Key) {
			return false
		}
	}
	return true
}

// changes are the events of one operation.
func (s *LogStore) changes(op store.Op) (events []store.Event) {
	if op.Kind == store.OpPut {
		r := store.Record{Key: op.Key, Value: bytes.Clone(op.Value), Session: op.Session}
		return []store.Event{{Record: r}}
	}
	for key := range s.now {
		if key == op.Key || op.Kind == store.OpDeletePrefix && strings.HasPrefix(key, op.Key) {
			events = append(events, store.Event{Record: store.Record{Key: key}, Deleted: true})
		}
	}
	return events
}

// Compact implements store.Store.
func (s *LogStore) Compact(ctx context.Context, r store.Revision) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if r > s.newest() {
		return fmt.Errorf("%w: compact at revision %d, which is still to come", store.ErrInvalid, r)
	}
	s.compact(r)
	return nil
}

func (s *LogStore) compact(r store.Revision) {
	for ; s.begin < r; s.begin++ {
		play(s.before, s.log[0])
		s.log = s.log[1:]
	}
}

// Close implements store.Store.
func (s *LogStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.wake()
	}
	return nil
}

// untilExpiry is how long it is until the next session ends by itself.
func (s *LogStore) untilExpiry() time.Duration {
	next := time.Hour
	for _, x := range s.sessions {
		next = min(next, time.Until(x.ends))
	}
	return max(next, 0)
}
