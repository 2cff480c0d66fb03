// Package calls keeps count of what goes on in a driver, so that closing it ends all
// of that and waits for it.
package calls

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
)

// Group is the calls and the background work of one driver.
type Group struct {
	name   string
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

// New makes an open group. Errors call what is closed by that name.
func New(name string) *Group {
	g := &Group{name: name}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Enter begins a call, which ends with leave. It fails when the group is closed or ctx
// is done. The context that it returns ends with the group too.
func (g *Group) Enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, fmt.Errorf("%s: %w", g.name, fs.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	g.work.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(g.ctx, cancel)
	return ctx, func() { stop(); cancel(); g.work.Done() }, nil
}

// Go runs f in the background. Only a call, or what runs already, may begin it.
func (g *Group) Go(f func()) { g.work.Go(f) }

// Context is that of the background: it ends at Close.
func (g *Group) Context() context.Context { return g.ctx }

// Close lets nobody enter any more and ends the contexts of all who have. It is false
// when that was done before.
func (g *Group) Close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.cancel()
	return true
}

// Wait waits until all calls have left and nothing runs in the background.
func (g *Group) Wait() { g.work.Wait() }
