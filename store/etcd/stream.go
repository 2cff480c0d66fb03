package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/shakenfist/cloud/store"
)

// errAgain says that the same watch is to be opened again at once, in another way.
var errAgain = errors.New("open again")

var progressRequest = &pb.WatchRequest{
	RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}},
}

// pump follows one stream after the other until the watch ends.
func (w *watcher) pump() {
	defer close(w.done)
	// At the newest revision a server has nothing to look for in its history, which
	// it does only ten times a second.
	fresh := w.last.Load() >= w.s.seen.Load()
	for failures := 0; ; fresh = false {
		before := w.last.Load()
		err := w.follow(fresh)
		if w.ctx.Err() != nil {
			w.err = store.ErrClosed
			return
		}
		if w.over.Load() {
			w.err = fmt.Errorf("etcd: watch %q: the store was restored from a backup: %w", w.prefix, store.ErrCompacted)
			return
		}
		if errors.Is(err, errAgain) {
			continue
		}
		if failures++; w.last.Load() > before {
			failures = 1
		}
		if ends(err, failures) {
			w.err = fmt.Errorf("etcd: watch %q after revision %d: %w", w.prefix, w.last.Load(), w.s.explain(w.ctx, err))
			return
		}
		w.s.log.Debug("watch broke off, resuming it", "prefix", w.prefix, "after", w.last.Load(), "error", err)
		select {
		case <-time.After(rest(failures)):
		case <-w.ctx.Done():
		}
	}
}

// ends reports whether a watch that broke off so often, at last with err, is over. That
// something is not permitted may be the echo of permissions that just changed.
func ends(err error, failures int) bool {
	err = rpctypes.Error(err)
	if errors.Is(err, store.ErrCompacted) || errors.Is(err, rpctypes.ErrCompacted) {
		return true
	}
	switch code(err) {
	case codes.PermissionDenied, codes.InvalidArgument, codes.Unauthenticated, codes.Unimplemented:
		return failures >= 4
	}
	return false
}

// rest is the pause before the next stream: 20 ms, doubling up to a second, half of it random.
func rest(failures int) time.Duration {
	d := min(10*time.Millisecond<<min(failures, 10), time.Second)
	return d/2 + rand.N(d/2)
}

// follow opens a stream and hands over what it brings until it ends.
//
// A watch that asks for what comes after the last revision it has may silently
// lack deletions, when that is just what was compacted. So it asks for the last
// revision once more: when that is compacted, etcd says so. A fresh one has no past to lose.
func (w *watcher) follow(fresh bool) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(w.ctx))
	defer cancel()
	giveUp := time.AfterFunc(w.s.timeout, cancel)
	defer giveUp.Stop()
	stream, err := pb.NewWatchClient(w.s.etcd.ActiveConnection()).Watch(ctx, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return err
	}
	a := assembler{own: w.s.prefix, prefix: w.s.prefix + w.prefix, last: w.last.Load(), coarse: w.s.coarse.Load()}
	start := max(a.last, 1)
	if fresh {
		start = a.last + 1
	}
	overtakes, err := create(stream, w.request(start, a.coarse))
	if err != nil {
		return err
	}
	if w.s.coarse.Store(overtakes); overtakes && !a.coarse {
		return errAgain
	}
	giveUp.Stop()
	w.attach(stream, cancel)
	defer w.attach(nil, nil)
	if w.over.Load() { // which nobody could end yet
		return store.ErrCompacted
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		w.heard()
		if r.Canceled {
			return cancelled(r)
		}
		for _, b := range a.add(r) {
			select {
			case w.out <- b:
				w.last.Store(int64(b.Revision))
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// request asks for changes from start on, in pieces where they are many.
func (w *watcher) request(start int64, coarse bool) *pb.WatchRequest {
	prefix := w.prefix
	if coarse {
		prefix = ""
	}
	from, end := w.s.interval(prefix)
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(from), RangeEnd: []byte(end), StartRevision: start, Fragment: true,
	}}}
}

// create makes the stream's one watch, and finds out whether progress marks of
// this server overtake events. One whose marks stand in line with events has
// nobody to send one to when it is asked before there is a watch.
func create(stream watchStream, request *pb.WatchRequest) (overtakes bool, err error) {
	for _, r := range []*pb.WatchRequest{progressRequest, request} {
		// An error of Send shows in Recv, which says more.
		if stream.Send(r) != nil {
			break
		}
	}
	for {
		r, err := stream.Recv()
		switch {
		case err != nil:
			return false, err
		case r.Canceled:
			return false, cancelled(r)
		case r.Created:
			return overtakes, nil
		}
		overtakes = true
	}
}

// cancelled says why the server ended a watch.
func cancelled(r *pb.WatchResponse) error {
	if r.CompactRevision != 0 {
		return store.ErrCompacted
	}
	for _, e := range []error{rpctypes.ErrPermissionDenied, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty, rpctypes.ErrCompacted} {
		if strings.Contains(r.CancelReason, e.Error()) {
			return e
		}
	}
	return fmt.Errorf("etcd ended the watch: %q", r.CancelReason)
}

// assembler makes whole revisions of what a stream brings.
type assembler struct {
	own    string // the store's prefix, which every key has
	prefix string // the watch's, the store's included
	last   int64  // the last revision that is complete
	coarse bool   // keys outside prefix come as well, and marks can't be trusted
	open   store.Batch
}

// add returns what r completes: batches with events and, at the end, perhaps a mark.
func (a *assembler) add(r *pb.WatchResponse) (ready []store.Batch) {
	for _, ev := range r.Events {
		rev := ev.Kv.ModRevision
		if rev <= a.last {
			continue
		}
		if rev != int64(a.open.Revision) {
			ready = a.complete(ready)
			a.open.Revision = store.Revision(rev)
		}
		if key := string(ev.Kv.Key); strings.HasPrefix(key, a.prefix) {
			a.open.Events = append(a.open.Events, a.event(ev, key))
		}
	}
	if r.Fragment {
		return ready // the last revision may go on
	}
	ready = a.complete(ready)
	if len(r.Events) == 0 && !r.Created && !a.coarse && r.Header.Revision > a.last {
		a.last = r.Header.Revision
		ready = append(ready, store.Batch{Revision: store.Revision(a.last)})
	}
	return ready
}

// complete closes the open revision. Of several marks in a row only the last one matters.
func (a *assembler) complete(ready []store.Batch) []store.Batch {
	b := a.open
	if b.Revision == 0 {
		return ready
	}
	a.open, a.last = store.Batch{}, int64(b.Revision)
	if n := len(ready); n > 0 && len(ready[n-1].Events) == 0 {
		ready = ready[:n-1]
	}
	return append(ready, b)
}

func (a *assembler) event(ev *mvccpb.Event, key string) store.Event {
	r := store.Record{Key: key[len(a.own):], Revision: store.Revision(ev.Kv.ModRevision)}
	if ev.Type == mvccpb.Event_DELETE {
		return store.Event{Record: r, Deleted: true}
	}
	r.Value, r.Session = ev.Kv.Value, store.SessionID(ev.Kv.Lease)
	return store.Event{Record: r}
}
