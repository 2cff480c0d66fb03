package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/faulty"
	"github.com/shakenfist/cloud/store/memory"
)

type inner struct {
	B int `json:"b"`
}

type thing struct {
	A     int       `json:"a"`
	Inner inner     `json:"inner"`
	When  time.Time `json:"when,omitzero"`
	Ptr   *inner    `json:"ptr,omitempty"`
}

func counter() func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("id-%d", n) }
}

func newClient(t *testing.T, wrap func(store.Store) store.Store) *Client {
	t.Helper()
	s := memory.New(memory.Config{})
	t.Cleanup(func() { s.Close() })
	if wrap != nil {
		return New(wrap(s), counter())
	}
	return New(s, counter())
}

// What a newer version wrote survives a change by this one, in nested objects too.
func TestUnknownMembersAreKept(t *testing.T) {
	c := newClient(t, nil)
	ctx := t.Context()
	newer := `{"a":1,"inner":{"b":2,"future":{"x":[1,2]}},"ptr":{"b":3,"p":true},"later":"kept","when":"2020-01-02T03:04:05Z"}`
	if _, err := c.store.Commit(ctx, store.Txn{Do: []store.Op{store.Put("k", []byte(newer))}}); err != nil {
		t.Fatal(err)
	}
	_, err := Update(ctx, c, "k", func(v *thing, _ *Txn) error {
		v.A, v.Inner.B, v.Ptr.B = 10, 20, 30
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.store.Get(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(r.Value, &got); err != nil {
		t.Fatalf("%s: %v", r.Value, err)
	}
	text := `{"a":10,"inner":{"b":20,"future":{"x":[1,2]}},"ptr":{"b":30,"p":true},"later":"kept","when":"2020-01-02T03:04:05Z","~commit":"id-1","~born":""}`
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEncodeEmptyObject(t *testing.T) {
	for _, v := range []any{struct{}{}, map[string]any{}, thing{}} {
		text, err := encode(v, nil, "x")
		if err != nil || !json.Valid(text) {
			t.Errorf("%T: %s, %v", v, text, err)
		}
	}
}

// However often replies are lost, a change happens once, and is known to have.
func TestLostReplies(t *testing.T) {
	for _, effect := range []faulty.Effect{faulty.LoseReply, faulty.LoseRequest, faulty.Late} {
		for n := 1; n <= 12; n++ {
			c := newClient(t, func(s store.Store) store.Store {
				return faulty.New(s, faulty.Config{Decide: faulty.Nth(n, faulty.Fault{Effect: effect}, faulty.Commit)})
			})
			ctx := t.Context()
			if _, err := c.Commit(ctx, c.Begin().Create("k", thing{})); err != nil {
				t.Fatalf("effect %v on commit %d: create: %v", effect, n, err)
			}
			for range 5 {
				if _, err := Update(ctx, c, "k", func(v *thing, _ *Txn) error { v.A++; return nil }); err != nil {
					t.Fatalf("effect %v on commit %d: update: %v", effect, n, err)
				}
			}
			o, err := Get[thing](ctx, c, "k")
			if err != nil || o.Value.A != 5 {
				t.Fatalf("effect %v on commit %d: %+v, %v", effect, n, o.Value, err)
			}
		}
	}
}

// Where a reply is lost and what came of it cannot be read, or the second try fails for
// sure, nobody is told that the change lost a race or did not happen: it would be made
// twice.
func TestLostReplyThatCannotBeRead(t *testing.T) {
	for unread := 1; unread < 12; unread++ {
		for _, second := range []faulty.Effect{faulty.None, faulty.Refuse, faulty.LoseRequest} {
			commits, reads := 0, 0
			c := newClient(t, func(s store.Store) store.Store {
				return faulty.New(s, faulty.Config{Decide: func(call faulty.Call) faulty.Fault {
					switch call.Op {
					case faulty.Commit:
						switch commits++; commits {
						case 2:
							return faulty.Fault{Effect: faulty.LoseReply}
						case 3:
							return faulty.Fault{Effect: second}
						}
					case faulty.Get:
						if commits < 2 {
							break
						}
						if reads++; reads <= unread {
							return faulty.Fault{Effect: faulty.Refuse}
						}
					}
					return faulty.Fault{}
				}})
			})
			ctx := t.Context()
			if _, err := c.Commit(ctx, c.Begin().Create("k", thing{})); err != nil {
				t.Fatal(err)
			}
			_, err := Update(ctx, c, "k", func(v *thing, _ *Txn) error { v.A++; return nil })
			if err != nil && !errors.Is(err, store.ErrUnknownOutcome) {
				t.Errorf("%d reads failed, the second commit %v: %v", unread, second, err)
			}
			reads = unread
			if o, err := Get[thing](ctx, c, "k"); err != nil || o.Value.A != 1 {
				t.Errorf("%d reads failed, the second commit %v: it was made %d times, %v", unread, second, o.Value.A, err)
			}
		}
	}
}

// A create that happened is recognised though somebody has changed its record since.
func TestCreateKnownByBirth(t *testing.T) {
	c := newClient(t, nil)
	ctx := t.Context()
	mine := c.Begin().Create("k", thing{})
	if _, err := c.Commit(ctx, mine); err != nil {
		t.Fatal(err)
	}
	if _, err := Update(ctx, c, "k", func(v *thing, _ *Txn) error { v.A++; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := c.happened(ctx, mine); !ok {
		t.Error("it is not recognised")
	}
}

func TestConcurrentUpdates(t *testing.T) {
	s := memory.New(memory.Config{})
	defer s.Close()
	var mu sync.Mutex
	id := counter()
	c := New(s, func() string { mu.Lock(); defer mu.Unlock(); return id() })
	ctx := t.Context()
	if _, err := c.Commit(ctx, c.Begin().Create("k", thing{})); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := Update(ctx, c, "k", func(v *thing, _ *Txn) error { v.A++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if o, _ := Get[thing](ctx, c, "k"); o.Value.A != 160 {
		t.Errorf("%d of 160 updates", o.Value.A)
	}
}

func TestUnreadableRecordIsNamed(t *testing.T) {
	c := newClient(t, nil)
	if _, err := c.store.Commit(t.Context(), store.Txn{Do: []store.Op{store.Put("sf/x", []byte("{"))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Get[thing](t.Context(), c, "sf/x"); err == nil || !strings.Contains(err.Error(), "sf/x") {
		t.Error(err)
	}
}

func TestEventsAreCountedAndBounded(t *testing.T) {
	c := newClient(t, nil)
	ctx := t.Context()
	now := time.Unix(100, 0)
	add := func(phase string) {
		t.Helper()
		now = now.Add(time.Second)
		txn := c.Begin()
		if err := c.Event(ctx, txn, spec.Event{Time: now, Kind: spec.KindInstance, Object: "o", Operation: "op", Phase: phase}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Commit(ctx, txn); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []Object[spec.Event] {
		t.Helper()
		l, _, _, err := List[spec.Event](ctx, c, EventPrefix(spec.KindInstance, "o"), store.Page{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	add("same")
	add("same")
	add("same")
	if l := list(); len(l) != 1 || l[0].Value.Count != 3 || !l[0].Value.Last.Equal(now) {
		t.Fatalf("%+v", l)
	}
	for i := range 100 {
		add(fmt.Sprint(i))
	}
	l := list()
	if len(l) != maxEvents || l[maxEvents-1].Value.Phase != "99" || l[0].Value.Phase != "36" {
		t.Fatalf("%d events from %s to %s", len(l), l[0].Value.Phase, l[len(l)-1].Value.Phase)
	}
}

func TestExpiryKeys(t *testing.T) {
	early, late := time.Unix(9, 0), time.Unix(1700000000, 0)
	if ExpiryKey(early, "a") >= ExpiryKey(late, "a") {
		t.Error("they do not sort by time")
	}
	at, what, ok := ParseExpiryKey(ExpiryKey(late, "address", "net", "10.0.0.5"))
	if !ok || !at.Equal(late) || strings.Join(what, " ") != "address net 10.0.0.5" {
		t.Error(at, what, ok)
	}
	for _, bad := range []string{ExpiryPrefix, ExpiryPrefix + "x/y", ExpiryPrefix + "12"} {
		if _, _, ok := ParseExpiryKey(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRetryGivesUp(t *testing.T) {
	n := 0
	err := Retry(context.Background(), func() error { n++; return store.ErrConflict })
	if !errors.Is(err, store.ErrConflict) || n != attempts {
		t.Errorf("%d tries, %v", n, err)
	}
}

// A clock that was ahead for once, by a year, leaves nothing that grows: events come in
// order after it, under keys that are not longer.
func TestEventsAfterAClockAhead(t *testing.T) {
	c, ctx, now := newClient(t, nil), t.Context(), time.Unix(1e9, 0)
	var last spec.Event
	for k := range 700 {
		at := now.Add(time.Duration(k) * time.Second)
		if k == 0 {
			at = now.AddDate(1, 0, 0)
		}
		txn := c.Begin()
		if err := c.Event(ctx, txn, spec.Event{Time: at, Kind: spec.KindInstance, Object: "o", Operation: "op", Phase: fmt.Sprint(k)}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Commit(ctx, txn); err != nil {
			t.Fatalf("event %d: %v", k, err)
		}
		l, _, _, err := List[spec.Event](ctx, c, EventPrefix(spec.KindInstance, "o"), store.Page{})
		if err != nil || l[len(l)-1].Value.Phase != fmt.Sprint(k) {
			t.Fatalf("the last event is not %d: %v", k, err)
		}
		if e := l[len(l)-1].Value; len(e.ID) > 32 {
			t.Fatalf("event %d has ID %s, after %s", k, e.ID, last.ID)
		}
		last = l[len(l)-1].Value
	}
}

// restored is a store that gives an answer of its choice.
type restored struct {
	store.Store
	record store.Record
}

func (s *restored) Get(context.Context, string) (store.Record, error) { return s.record, nil }

// A store that was restored from a backup has something else under a revision that was
// read before: it is not taken for what is remembered of that.
func TestSameRevisionOfAnotherHistory(t *testing.T) {
	s := &restored{}
	c := New(s, func() string { return "id" })
	for _, owner := range []string{"one", "two"} {
		s.record = store.Record{Key: "k", Revision: 7, Value: []byte(`{"~commit":"` + owner + `","owner":"` + owner + `"}`)}
		for range 2 {
			o, err := Get[struct{ Owner string }](t.Context(), c, "k")
			if err != nil || o.Value.Owner != owner {
				t.Errorf("%q, %v, not %q", o.Value.Owner, err, owner)
			}
		}
	}
}
