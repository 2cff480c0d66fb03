package sf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// onceFor is how long an idempotency key is remembered.
const onceFor = 24 * time.Hour

// maxMetadata is how large an object's metadata may be, as JSON.
const maxMetadata = spec.MaxMetadata

// once is the record of an idempotency key.
type once struct {
	Object string    `json:"object"` // UUID that the first request made
	Body   string    `json:"body"`   // digest of that request
	Until  time.Time `json:"until"`
}

// once returns what an earlier create with the same key made, or "" if there was
// none. ErrConflict when that create asked for something else.
func (c *Cloud) once(ctx context.Context, namespace string, kind Kind, key string, body any) (string, error) {
	if key == "" {
		return "", nil
	}
	if !spec.ValidLabel(key) {
		return "", spec.Errorf(ErrInvalid, "idempotency key %q: only letters, digits and -_.@+ can be in it, at most 128", key)
	}
	o, err := record.Get[once](ctx, c.records, record.IdempotencyKey(namespace, kind, key))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	digest, err := digestOf(body)
	switch {
	case err != nil:
		return "", err
	case !c.cfg.Clock.Now().Before(o.Value.Until):
		return "", c.forgetOnce(ctx, o)
	case spec.ClassOf(c.exists(ctx, kind, o.Value.Object)) == ErrNotFound: // made, deleted and forgotten
		return "", c.forgetOnce(ctx, o)
	case o.Value.Body != digest:
		return "", spec.Errorf(ErrConflict, "idempotency key %q was used for another request", key).About(string(kind), o.Value.Object)
	}
	return o.Value.Object, nil
}

// forgetOnce makes room for a key's next use.
func (c *Cloud) forgetOnce(ctx context.Context, o record.Object[once]) error {
	_, err := c.records.Commit(ctx, c.records.Begin().If(store.RevisionIs(o.Key, o.Revision)).Delete(o.Key))
	return err
}

// remember adds an idempotency key to the transaction that makes its object. Of
// two requests that race, one loses the condition, tries again and finds the other's.
func (c *Cloud) remember(t *record.Txn, namespace string, kind Kind, key string, body any, object string) error {
	if key == "" {
		return nil
	}
	digest, err := digestOf(body)
	if err != nil {
		return err
	}
	until := c.cfg.Clock.Now().Add(onceFor)
	t.Create(record.IdempotencyKey(namespace, kind, key), once{Object: object, Body: digest, Until: until})
	t.Put(record.ExpiryKey(until, "once", namespace, string(kind), key), claims.Empty{})
	return nil
}

func digestOf(body any) (string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// metadataFits says whether metadata can be stored.
func metadataFits(m Metadata) error {
	text, err := json.Marshal(m)
	switch {
	case err != nil:
		return spec.Errorf(ErrInvalid, "metadata cannot be written as JSON").Because(err)
	case len(text) > maxMetadata:
		return spec.Errorf(ErrInvalid, "metadata would have %d bytes, the most is %d", len(text), maxMetadata)
	}
	for k := range m {
		if k == "" || k == "~commit" || k == "~born" {
			return spec.Errorf(ErrInvalid, "metadata key %q cannot be used", k)
		}
	}
	return nil
}
