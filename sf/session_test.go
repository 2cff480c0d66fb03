package sf_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
)

// stuck is a store that is not done with writing some keys.
type stuck struct {
	store.Store
	prefix string
}

func (s stuck) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	for _, op := range t.Do {
		if strings.HasPrefix(op.Key, s.prefix) {
			<-ctx.Done()
			return 0, store.ErrUnknownOutcome
		}
	}
	return s.Store.Commit(ctx, t)
}

// A node whose notes of itself are not written, while its session is renewed, as by an
// etcd with a slow disk, goes on to renew it.
func TestSessionDoesNotWaitForNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sftest.NewWith(t, fake.Config{Now: time.Now}, func(cfg *sf.Config) {
			cfg.Store = stuck{cfg.Store, record.NodeSeenKey("")}
		})
		for range 60 {
			time.Sleep(time.Second)
			nodes, err := c.Nodes(t.Context())
			if err != nil || len(nodes) != 1 || !nodes[0].Live {
				t.Fatalf("it counts as gone: %+v, %v", nodes, err)
			}
		}
	})
}
