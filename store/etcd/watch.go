package etcd

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/shakenfist/cloud/store"
)

// Pauses between requests for a progress mark while one is wanted: the first, and
// where doubling it ends.
const (
	firstAsk = 20 * time.Millisecond
	lastAsk  = time.Second
)

// watcher is a store.Watcher. Its pump goroutine receives, its reader asks for
// marks and gives up on streams that no longer answer.
type watcher struct {
	s      *client
	prefix string // as the caller named it
	ctx    context.Context
	cancel context.CancelFunc
	out    chan store.Batch // what the pump has received
	wake   chan struct{}    // holds a token when a new revision became known
	done   chan struct{}    // closed when the pump has ended, for the reason in err
	err    error
	last   atomic.Int64 // everything up to this revision was received
	over   atomic.Bool  // the store's history is another one now

	mu       sync.Mutex
	stream   watchStream // that the pump receives from; nil between streams
	abort    func()      // ends stream
	asked    time.Time   // when a mark was last requested
	silent   time.Time   // since when a request is unanswered; zero when none is
	pause    time.Duration
	patience time.Duration // for an answer
}

type watchStream interface {
	Send(*pb.WatchRequest) error
	Recv() (*pb.WatchResponse, error)
}

// Watch implements store.Store. It does not wait for the server: what is wrong
// shows in Next.
func (s *client) Watch(ctx context.Context, prefix string, after store.Revision) (store.Watcher, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	w := &watcher{
		s: s, prefix: prefix, pause: firstAsk, patience: s.timeout,
		out: make(chan store.Batch, 1), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	w.ctx, w.cancel = context.WithCancel(s.ctx)
	w.last.Store(int64(after))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		w.cancel()
		return nil, store.ErrClosed
	}
	s.watchers[w] = struct{}{}
	s.pumps.Go(w.pump)
	return w, nil
}

// Close implements store.Watcher.
func (w *watcher) Close() error {
	w.s.mu.Lock()
	delete(w.s.watchers, w)
	w.s.mu.Unlock()
	w.cancel()
	<-w.done
	return nil
}

// Next implements store.Watcher.
func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	if b, ok := w.ready(); ok {
		return b, nil
	}
	if err := ctx.Err(); err != nil && w.ctx.Err() == nil {
		return store.Batch{}, err
	}
	timer := time.NewTimer(w.ask())
	defer timer.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return store.Batch{}, store.ErrClosed
		case b := <-w.out:
			return b, nil
		case <-w.done:
			if b, ok := w.ready(); ok {
				return b, nil
			}
			return store.Batch{}, w.err
		case <-ctx.Done():
			if b, ok := w.ready(); ok {
				return b, nil
			}
			return store.Batch{}, ctx.Err()
		case <-w.wake:
		case <-timer.C:
		}
		timer.Reset(w.ask())
	}
}

// ready is what can be had without waiting.
func (w *watcher) ready() (store.Batch, bool) {
	if w.ctx.Err() != nil {
		return store.Batch{}, false
	}
	select {
	case b := <-w.out:
		w.heard() // perhaps long ago, but it was not the server who made it wait
		return b, true
	default:
		return store.Batch{}, false
	}
}

// ask requests a progress mark where one is due: soon when the store is known to be further
// than this watch, else now and then, which also shows that the server lives. A
// stream on which nothing comes for long is given up. It returns when to look again.
func (w *watcher) ask() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	idle := w.s.timeout / 2
	if w.stream == nil {
		return idle // the pump is at it, and has its own deadline
	}
	now := time.Now()
	if !w.silent.IsZero() && now.Sub(w.silent) > w.patience {
		w.abort()
		w.stream = nil
		w.patience = min(2*w.patience, 16*w.s.timeout)
		return idle
	}
	pause := idle
	behind := w.last.Load() < w.s.seen.Load()
	if behind {
		pause = w.pause
	}
	if rest := pause - now.Sub(w.asked); rest > 0 {
		return rest
	}
	if behind {
		w.pause = min(2*w.pause, lastAsk)
	}
	w.asked = now
	if w.silent.IsZero() {
		w.silent = now
	}
	// An error shows in the pump's Recv.
	_ = w.stream.Send(progressRequest)
	return pause
}

// attach hands a stream that works to the reader, nil takes it away.
func (w *watcher) attach(stream watchStream, abort func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stream, w.abort = stream, abort
	w.asked, w.silent, w.pause = time.Time{}, time.Time{}, firstAsk
	if stream != nil {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// rewind ends the watch: its place is one of a history that is no more.
func (w *watcher) rewind() {
	w.over.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream != nil {
		w.abort()
	}
}

// heard notes that the server said something.
func (w *watcher) heard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent, w.pause, w.patience = time.Time{}, firstAsk, w.s.timeout
}
