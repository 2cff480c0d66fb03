package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/shakenfist/cloud/store"
)

// ErrNoAnswer: no member of the cluster answered in time. It is a store.ErrUnavailable.
var ErrNoAnswer error = noAnswer{}

type noAnswer struct{}

func (noAnswer) Error() string { return "etcd does not answer" }
func (noAnswer) Unwrap() error { return store.ErrUnavailable }

// attempts of a call that may be repeated, and what each gets of its time. One
// that a paused member does not answer leaves enough for another member.
var attempts = []float64{0.25, 0.25, 0.5}

// repeat calls fn until it succeeds, fails for good, or time is up. fn must be
// harmless to repeat.
func (s *client) repeat(ctx context.Context, fn func(context.Context) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	var err error
	for _, share := range attempts {
		err = s.attempt(ctx, time.Duration(share*float64(s.timeout)), fn)
		if err == nil || ctx.Err() != nil || !passing(err) {
			break
		}
	}
	return s.explain(ctx, err)
}

func (s *client) attempt(ctx context.Context, timeout time.Duration, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), timeout)
	defer cancel()
	return fn(ctx)
}

// passing reports whether another member, or the same one later, may know better.
func passing(err error) bool {
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return false
}

// code is the gRPC code of an error of package clientv3, which has several shapes.
func code(err error) codes.Code {
	var e rpctypes.EtcdError
	switch {
	case errors.As(err, &e):
		return e.Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	// A member that gave up waiting for another one passes its own context's error on, as text.
	if s := status.Convert(err); s.Code() == codes.Unknown && s.Message() == context.DeadlineExceeded.Error() {
		return codes.DeadlineExceeded
	}
	return status.Code(err)
}

// explain says in the words of package store why a call failed. ctx is the caller's.
func (s *client) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = rpctypes.Error(err)
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return store.ErrCompacted
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return store.ErrSessionExpired
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: compact and defragment it, then disarm its alarm", err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: etcd must allow what it does by default (--max-txn-ops, --max-request-bytes): %w", store.ErrTooLarge, err)
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("%w within %v (is there a majority of its members?)", ErrNoAnswer, s.timeout)
	case code(err) == codes.Unavailable:
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return err
}

// refusals are the answers with which etcd has surely written nothing. Notably
// not among them is "no space", which it also says after it has.
var refusals = []error{
	rpctypes.ErrLeaseNotFound, rpctypes.ErrTooManyOps, rpctypes.ErrRequestTooLarge,
	rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey, rpctypes.ErrTooManyRequests,
	rpctypes.ErrNoLeader, rpctypes.ErrPermissionDenied, rpctypes.ErrInvalidAuthToken,
	rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed,
}

func refused(err error) bool {
	err = rpctypes.Error(err)
	for _, r := range refusals {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}

type sentKey struct{}

// tracked returns a context whose transaction, once it leaves for a server, sets sent.
func tracked(ctx context.Context) (_ context.Context, sent *atomic.Bool) {
	sent = new(atomic.Bool)
	return context.WithValue(ctx, sentKey{}, sent), sent
}

// tracker is the stats.Handler that tells a request that never left from one whose reply was
// lost; gRPC's errors do not.
type tracker struct{}

func (tracker) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (tracker) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if h, ok := s.(*stats.OutHeader); ok && h.FullMethod == pb.KV_Txn_FullMethodName {
		if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
			sent.Store(true)
		}
	}
}

func (tracker) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (tracker) HandleConn(context.Context, stats.ConnStats) {}
