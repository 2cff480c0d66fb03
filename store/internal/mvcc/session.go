package mvcc

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/shakenfist/cloud/store"
)

// Open returns the state with one more session, alive until now plus ttl.
func (s State) Open(ttl time.Duration, now time.Time) (State, Step) {
	s.LastSession++
	opened := Session{ID: s.LastSession, TTL: ttl, Deadline: now.Add(ttl)}
	s.sessions = append(slices.Clone(s.sessions), opened)
	s.expiry = earliest(s.sessions)
	return s, Step{After: s, Opened: opened}
}

// Renew returns the state with the session alive until its full time from now,
// or store.ErrSessionExpired.
func (s State) Renew(id store.SessionID, now time.Time) (State, error) {
	i, ok := s.session(id)
	if !ok {
		return s, fmt.Errorf("%w: session %d", store.ErrSessionExpired, id)
	}
	s.sessions = slices.Clone(s.sessions)
	s.sessions[i].Deadline = now.Add(s.sessions[i].TTL)
	s.expiry = earliest(s.sessions)
	return s, nil
}

// End returns the state without the session and its keys, which go at one
// revision. Ending what is over changes nothing.
func (s State) End(id store.SessionID) (State, Step) {
	i, ok := s.session(id)
	if !ok {
		return s, Step{After: s}
	}
	batch := store.Batch{Revision: s.Revision + 1}
	next, owner := s, ownedKey(id, "")
	for k := range s.owned.Prefix(owner) {
		next = next.delete(k[len(owner):], &batch)
	}
	next.sessions = removed(s.sessions, i)
	next.expiry = earliest(next.sessions)
	next, step := next.sealed(batch)
	step.Ended = id
	return next, step
}

// Due reports whether Expire(now) would end a session.
func (s State) Due(now time.Time) bool {
	return !s.expiry.IsZero() && !now.Before(s.expiry)
}

// Expiry is the moment of the next session's end, zero without sessions.
func (s State) Expiry() time.Time { return s.expiry }

// Expire ends every session whose deadline is not after now, in the order of
// their deadlines, each at a revision of its own.
func (s State) Expire(now time.Time) (State, []Step) {
	var steps []Step
	for s.Due(now) {
		first := slices.MinFunc(s.sessions, func(a, b Session) int { return a.Deadline.Compare(b.Deadline) })
		var step Step
		s, step = s.End(first.ID)
		steps = append(steps, step)
	}
	return s, steps
}

// Sessions returns the open sessions, sorted by ID. The slice is shared.
func (s State) Sessions() []Session { return s.sessions }

func (s State) session(id store.SessionID) (int, bool) {
	return slices.BinarySearchFunc(s.sessions, id, func(x Session, id store.SessionID) int {
		return cmp.Compare(x.ID, id)
	})
}

func earliest(sessions []Session) (t time.Time) {
	for _, x := range sessions {
		if t.IsZero() || x.Deadline.Before(t) {
			t = x.Deadline
		}
	}
	return t
}

// ownedKey sorts by session, then by key.
func ownedKey(id store.SessionID, key string) string {
	b := make([]byte, 8, 8+len(key))
	binary.BigEndian.PutUint64(b, uint64(id))
	return string(append(b, key...))
}
