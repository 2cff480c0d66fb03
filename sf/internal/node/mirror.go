package node

import (
	"context"

	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/store"
)

// mirror keeps something in memory equal to what is below a prefix of the store.
// While the store is away it keeps what it has.
type mirror struct {
	prefix string
	reset  func([]store.Record) // all of it, at first and after a gap
	change func(store.Event)    // one change
}

// open hands over what is there and watches from then on.
func (a *Agent) open(ctx context.Context, m mirror) (store.Watcher, error) {
	l, err := a.Records.Store().List(ctx, m.prefix, store.Page{})
	if err != nil {
		return nil, err
	}
	w, err := a.Records.Store().Watch(ctx, m.prefix, l.Revision)
	if err == nil {
		m.reset(l.Records)
	}
	return w, err
}

// keepUp hands over changes until ctx ends. A watch that ends before is opened again.
func (a *Agent) keepUp(ctx context.Context, m mirror, w store.Watcher) {
	for failures := 0; ctx.Err() == nil; {
		if w == nil {
			var err error
			if w, err = a.open(ctx, m); err != nil {
				failures++
				a.Logger.Warn("the store cannot be watched; trying again", "node", a.Name, "prefix", m.prefix, "error", err)
				if a.Clock.Wait(ctx, reconcile.Backoff(failures), nil) != nil {
					return
				}
				continue
			}
		}
		b, err := w.Next(ctx)
		if err != nil {
			w.Close()
			w = nil
			if failures++; ctx.Err() == nil && a.Clock.Wait(ctx, reconcile.Backoff(failures), nil) != nil {
				return
			}
			continue
		}
		failures = 0
		for _, e := range b.Events {
			m.change(e)
		}
	}
	if w != nil {
		w.Close()
	}
}
