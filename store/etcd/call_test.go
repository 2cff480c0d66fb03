package etcd

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shakenfist/cloud/store"
)

// What trying again may mend is said in the word that all stores have for it, and nothing else is.
func TestExplain(t *testing.T) {
	s := &client{ctx: t.Context(), timeout: time.Second}
	for _, c := range []struct {
		err         error
		unavailable bool
		text        string
	}{
		{status.Error(codes.Unavailable, "connection refused"), true, "etcd does not answer: rpc error: code = Unavailable desc = connection refused"},
		{context.DeadlineExceeded, true, "etcd does not answer within 1s (is there a majority of its members?)"},
		{rpctypes.ErrNoLeader, true, "etcd does not answer: etcdserver: no leader"},
		{rpctypes.ErrTooManyRequests, true, "store: cannot be reached: etcdserver: too many requests"},
		{rpctypes.ErrPermissionDenied, false, "etcdserver: permission denied"},
		{rpctypes.ErrNoSpace, false, "etcdserver: mvcc: database space exceeded: compact and defragment it, then disarm its alarm"},
	} {
		err := s.explain(t.Context(), c.err)
		if errors.Is(err, store.ErrUnavailable) != c.unavailable || err.Error() != c.text {
			t.Errorf("%v: unavailable %v, %q; want %v, %q", c.err, errors.Is(err, store.ErrUnavailable), err, c.unavailable, c.text)
		}
	}
}
