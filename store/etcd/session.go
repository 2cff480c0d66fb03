package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/shakenfist/cloud/store"
)

type session struct {
	s  *client
	id store.SessionID

	mu       sync.Mutex
	deadline time.Time
}

// Session implements store.Store. A lease is of whole seconds, and etcd gives none
// shorter than one and a half of its election timeouts.
func (s *client) Session(ctx context.Context, ttl time.Duration) (store.Session, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: session of %v", store.ErrInvalid, ttl)
	}
	x := &session{s: s}
	err := s.repeat(ctx, func(ctx context.Context) error {
		sent := time.Now()
		// One that is granted, and the answer lost, ends by itself.
		r, err := s.etcd.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			x.id = store.SessionID(r.ID)
			x.extend(sent, r.TTL)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: open a session: %w", err)
	}
	return x, nil
}

// ID implements store.Session.
func (x *session) ID() store.SessionID { return x.id }

// Renew implements store.Session.
func (x *session) Renew(ctx context.Context) error {
	err := x.s.repeat(ctx, func(ctx context.Context) error {
		sent := time.Now()
		ttl, err := x.s.keepAlive(ctx, int64(x.id))
		if err == nil {
			x.extend(sent, ttl)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("etcd: renew session %x: %w", x.id, err)
	}
	return nil
}

// keepAlive renews a lease once and returns the seconds that it has. The client's own
// KeepAliveOnce tries again without a pause while nobody listens.
func (s *client) keepAlive(ctx context.Context, id int64) (ttl int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := pb.NewLeaseClient(s.etcd.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return 0, err
	}
	r, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	if r.TTL <= 0 {
		return 0, rpctypes.ErrLeaseNotFound
	}
	return r.TTL, nil
}

// extend moves the deadline to a tenth before the lease's full time from sent on:
// the margin is for clocks that run at different speeds.
func (x *session) extend(sent time.Time, ttl int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	full := time.Duration(ttl) * time.Second
	if d := sent.Add(full - full/10); d.After(x.deadline) {
		x.deadline = d
	}
}

// Deadline implements store.Session.
func (x *session) Deadline() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.deadline
}

// Close implements store.Session.
func (x *session) Close(ctx context.Context) error {
	err := x.s.repeat(ctx, func(ctx context.Context) error {
		_, err := x.s.etcd.Revoke(ctx, clientv3.LeaseID(x.id))
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("etcd: close session %x: %w", x.id, err)
	}
	return nil
}
