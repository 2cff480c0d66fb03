package sf

import (
	"context"
	"errors"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/store"
)

// sharedSecret is the record of a secret.
type sharedSecret struct {
	Value []byte `json:"value"`
}

// Secret returns 32 random bytes under a name, the same for all processes of the
// cloud: the first to ask makes them. Who can read the store can read them.
func (c *Cloud) Secret(ctx context.Context, name string) ([]byte, error) {
	for {
		o, err := record.Get[sharedSecret](ctx, c.records, record.SecretKey(name))
		if err == nil {
			return o.Value.Value, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, storeError(err)
		}
		s := sharedSecret{make([]byte, 32)}
		c.random(s.Value)
		_, err = c.records.Commit(ctx, c.records.Begin().Create(record.SecretKey(name), s))
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, storeError(err)
		}
	}
}
