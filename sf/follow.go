package sf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Of what is followed, defined in package spec.
type (
	FollowOptions = spec.FollowOptions
	EventBatch    = spec.EventBatch
)

// FollowEvents delivers events as they are recorded until ctx is done or the
// caller breaks off. Nothing is kept for a caller who is slow: who falls far behind
// is told by a Gap and gets what is kept of each object, as after a long absence. An
// error ends it.
func (c *Cloud) FollowEvents(ctx context.Context, opt FollowOptions) iter.Seq2[*EventBatch, error] {
	return func(yield func(*EventBatch, error) bool) {
		f := follower{c: c, prefix: record.Root + "event/", at: store.Revision(opt.After), yield: func(b *EventBatch) bool { return yield(b, nil) }}
		if opt.Object != "" {
			f.prefix = record.EventPrefix(opt.Kind, opt.Object)
		}
		if err := f.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(nil, storeError(err))
		}
	}
}

// errEnough ends a follower whose caller has broken off.
var errEnough = errors.New("the caller has had enough")

type follower struct {
	c      *Cloud
	prefix string
	at     store.Revision // everything up to here has been delivered
	yield  func(*EventBatch) bool
}

func (f *follower) run(ctx context.Context) error {
	now, err := f.c.store.List(ctx, record.CloudKey(), store.Page{Limit: 1})
	if err != nil {
		return err
	}
	if f.at < 0 {
		if err := f.deliver(&EventBatch{Position: int64(now.Revision)}); err != nil {
			return err
		}
	}
	if f.at == 0 || f.at > now.Revision { // a position of another store, which this one was restored from
		if err := f.past(ctx, 0, f.at != 0); err != nil {
			return err
		}
	}
	for {
		err := f.watch(ctx)
		if !errors.Is(err, store.ErrCompacted) {
			return err
		}
		if err := f.past(ctx, f.at, true); err != nil {
			return err
		}
	}
}

// deliver hands a batch to the caller and remembers how far that was.
func (f *follower) deliver(b *EventBatch) error {
	if !f.yield(b) {
		return errEnough
	}
	if b.Position != 0 {
		f.at = store.Revision(b.Position)
	}
	return nil
}

// past delivers what is kept of the events recorded after a revision, and ends
// with the position up to which that is all. A caller may be so slow that the store
// forgets meanwhile how it was: the rest is then what is left of that.
func (f *follower) past(ctx context.Context, after store.Revision, gap bool) error {
	page := store.Page{Limit: listChunk}
	var until store.Revision // what is newer is watched afterwards
	for {
		l, err := f.c.store.List(ctx, f.prefix, page)
		if errors.Is(err, store.ErrCompacted) && page.At != 0 {
			page.At, gap = 0, true
			continue
		}
		if err != nil {
			return err
		}
		if until == 0 {
			until = l.Revision
		}
		b := &EventBatch{Gap: gap}
		for _, r := range l.Records {
			if r.Revision > after && r.Revision <= until {
				if err := addEvent(b, r); err != nil {
					return err
				}
			}
			page.After = r.Key
		}
		if page.At = l.Revision; !l.More {
			b.Position = int64(until)
		}
		if len(b.Events) > 0 || b.Position != 0 {
			if err := f.deliver(b); err != nil {
				return err
			}
			gap = false
		}
		if !l.More {
			return nil
		}
	}
}

// watch delivers what is recorded from now on.
func (f *follower) watch(ctx context.Context) error {
	w, err := f.c.store.Watch(ctx, f.prefix, f.at)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		changes, err := w.Next(ctx)
		if err != nil {
			return err
		}
		b := &EventBatch{Position: int64(changes.Revision)}
		for _, e := range changes.Events {
			if e.Deleted {
				continue // made room for newer ones
			}
			if err := addEvent(b, e.Record); err != nil {
				return err
			}
		}
		if err := f.deliver(b); err != nil {
			return err
		}
	}
}

// addEvent decodes an event. It does not go through the record layer's memory, which
// is for what is read again.
func addEvent(b *EventBatch, r store.Record) error {
	e := new(spec.Event)
	if err := json.Unmarshal(r.Value, e); err != nil {
		return fmt.Errorf("sf: event %s is not readable: %w", r.Key, err)
	}
	b.Events = append(b.Events, e)
	return nil
}

// ChangeMetadata changes an object's metadata in one step: change sees it as it is
// and may refuse by an error. It may be called several times.
func (c *Cloud) ChangeMetadata(ctx context.Context, kind Kind, id string, change func(Metadata) error) error {
	return c.changeMetadata(ctx, kind, id, change)
}
