// Package modeltest compares a store with the most naive one there could be: maps
// copied for every revision. Package rapid draws what to do and shrinks what failed.
package modeltest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/store"
)

// model is the naive store. Its methods return what the real one should.
type model struct {
	now      time.Time
	revision store.Revision
	oldest   store.Revision
	keys     map[string]store.Record
	past     map[store.Revision]map[string]store.Record
	batches  map[store.Revision]map[string]store.Event
	sessions map[store.SessionID]*lease
}

type lease struct {
	ttl      time.Duration
	deadline time.Time
}

func newModel(now time.Time) *model {
	return &model{
		now:      now,
		keys:     map[string]store.Record{},
		past:     map[store.Revision]map[string]store.Record{0: {}},
		batches:  map[store.Revision]map[string]store.Event{},
		sessions: map[store.SessionID]*lease{},
	}
}

func (m *model) holds(c store.Cond) bool {
	r, ok := m.keys[c.Key]
	switch c.Kind {
	case store.CondExists:
		return ok
	case store.CondAbsent:
		return !ok
	case store.CondRevision:
		return ok && r.Revision == c.Revision
	}
	return len(m.below(m.keys, c.Key)) == 0
}

func (m *model) below(keys map[string]store.Record, prefix string) (out []string) {
	for k := range keys {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func (m *model) commit(txn store.Txn) error {
	for _, c := range txn.If {
		if !m.holds(c) {
			return store.ErrConflict
		}
	}
	for _, op := range txn.Do {
		if op.Session != 0 && m.sessions[op.Session] == nil {
			return store.ErrSessionExpired
		}
	}
	events := map[string]store.Event{}
	for _, op := range txn.Do {
		switch op.Kind {
		case store.OpPut:
			events[op.Key] = store.Event{Record: store.Record{
				Key: op.Key, Value: op.Value, Revision: m.revision + 1, Session: op.Session}}
		case store.OpDelete:
			if _, ok := m.keys[op.Key]; ok {
				events[op.Key] = m.deletion(op.Key)
			}
		case store.OpDeletePrefix:
			for _, k := range m.below(m.keys, op.Key) {
				events[k] = m.deletion(k)
			}
		}
	}
	m.apply(events)
	return nil
}

func (m *model) deletion(key string) store.Event {
	return store.Event{Record: store.Record{Key: key, Revision: m.revision + 1}, Deleted: true}
}

func (m *model) apply(events map[string]store.Event) {
	if len(events) == 0 {
		return
	}
	m.revision++
	for k, ev := range events {
		if ev.Deleted {
			delete(m.keys, k)
		} else {
			m.keys[k] = ev.Record
		}
	}
	m.past[m.revision] = maps.Clone(m.keys)
	m.batches[m.revision] = events
}

func (m *model) end(id store.SessionID) {
	delete(m.sessions, id)
	events := map[string]store.Event{}
	for k, r := range m.keys {
		if r.Session == id {
			events[k] = m.deletion(k)
		}
	}
	m.apply(events)
}

// advance lets time pass and ends the sessions whose time is over.
func (m *model) advance(d time.Duration) {
	m.now = m.now.Add(d)
	for {
		var first store.SessionID
		for id, l := range m.sessions {
			f := m.sessions[first]
			if l.deadline.After(m.now) {
				continue
			}
			if f == nil || l.deadline.Before(f.deadline) || (l.deadline.Equal(f.deadline) && id < first) {
				first = id
			}
		}
		if first == 0 {
			return
		}
		m.end(first)
	}
}

func (m *model) list(prefix string, p store.Page) (store.List, error) {
	at := p.At
	if at == 0 {
		at = m.revision
	}
	if at < m.oldest {
		return store.List{}, store.ErrCompacted
	}
	if at > m.revision {
		return store.List{}, store.ErrInvalid
	}
	l := store.List{Revision: at}
	for _, k := range m.below(m.past[at], prefix) {
		if k <= p.After {
			continue
		}
		if p.Limit > 0 && len(l.Records) == p.Limit {
			l.More = true
			break
		}
		l.Records = append(l.Records, m.past[at][k])
	}
	return l, nil
}

// poll is what a watch that has delivered up to after returns to a done context.
func (m *model) poll(prefix string, after store.Revision) (store.Batch, error) {
	if after < m.oldest {
		return store.Batch{}, store.ErrCompacted
	}
	for r := after + 1; r <= m.revision; r++ {
		b := store.Batch{Revision: r}
		for _, k := range slices.Sorted(maps.Keys(m.batches[r])) {
			if strings.HasPrefix(k, prefix) {
				b.Events = append(b.Events, m.batches[r][k])
			}
		}
		if len(b.Events) > 0 {
			return b, nil
		}
	}
	if after < m.revision {
		return store.Batch{Revision: m.revision}, nil
	}
	return store.Batch{}, errNothing
}

var errNothing = errors.New("nothing to deliver")

// render makes results comparable: an empty value is one whether nil or not, and
// events of a batch have no order.
func render(v any, err error) string {
	if err != nil {
		return "error"
	}
	var b strings.Builder
	record := func(r store.Record) string {
		return fmt.Sprintf("%q=%q@%d in %d", r.Key, r.Value, r.Revision, r.Session)
	}
	switch v := v.(type) {
	case store.Record:
		b.WriteString(record(v))
	case store.List:
		fmt.Fprintf(&b, "list at %d, more: %v:", v.Revision, v.More)
		for _, r := range v.Records {
			fmt.Fprintf(&b, " %s", record(r))
		}
	case store.Batch:
		var lines []string
		for _, ev := range v.Events {
			lines = append(lines, fmt.Sprintf(" %s deleted: %v", record(ev.Record), ev.Deleted))
		}
		slices.Sort(lines)
		fmt.Fprintf(&b, "batch %d:%s", v.Revision, strings.Join(lines, ""))
	default:
		fmt.Fprint(&b, v)
	}
	return b.String()
}
