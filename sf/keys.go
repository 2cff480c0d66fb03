package sf

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
)

// ServiceKey is a key name that the seed used between nodes; nobody may have it.
const ServiceKey = "service_key"

// maxSecret is what bcrypt takes, in bytes.
const maxSecret = 72

// SetKey gives a namespace a key, or changes the one of that name. Changing it
// makes every token got with it useless.
func (c *Cloud) SetKey(ctx context.Context, namespace, name, secret string) error {
	switch {
	case name == ServiceKey:
		return spec.Errorf(ErrForbidden, "illegal key name").About("namespace", namespace)
	case !spec.ValidLabel(name):
		return spec.Errorf(ErrInvalid, "key name %q: only letters, digits and -_.@+ can be in it, at most 128", name).About("namespace", namespace)
	case secret == "" || len(secret) > maxSecret:
		return spec.Errorf(ErrInvalid, "a key must have between 1 and %d bytes, not %d", maxSecret, len(secret)).About("namespace", namespace)
	}
	if err := c.exists(ctx, KindNamespace, namespace); err != nil {
		return err
	}
	hash, err := c.keys.hash(ctx, secret)
	if err != nil {
		return err
	}
	key := spec.Key{Name: name, Hash: hash, Nonce: c.newUUID(), Created: c.cfg.Clock.Now()}
	_, err = record.Update(ctx, c.records, record.NamespaceKey(namespace), func(n *spec.Namespace, _ *record.Txn) error {
		n.Keys = slices.DeleteFunc(n.Keys, func(k spec.Key) bool { return k.Name == name })
		n.Keys = append(n.Keys, key)
		slices.SortFunc(n.Keys, func(a, b spec.Key) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	return notFound(err, KindNamespace, namespace)
}

// DeleteKey deletes a namespace's key; ErrNotFound when it has none of that name.
func (c *Cloud) DeleteKey(ctx context.Context, namespace, name string) error {
	_, err := record.Update(ctx, c.records, record.NamespaceKey(namespace), func(n *spec.Namespace, _ *record.Txn) error {
		kept := slices.DeleteFunc(n.Keys, func(k spec.Key) bool { return k.Name == name })
		if len(kept) == len(n.Keys) {
			return spec.Errorf(ErrNotFound, "key name not found in namespace").About("namespace", namespace)
		}
		n.Keys = kept
		return nil
	})
	return notFound(err, KindNamespace, namespace)
}

// Authenticate returns the key of a namespace whose secret this is, or
// ErrUnauthorized, which does not tell whether the namespace exists.
func (c *Cloud) Authenticate(ctx context.Context, namespace, secret string) (*Key, error) {
	denied := spec.Errorf(ErrUnauthorized, "unauthorized")
	ns, err := c.Namespace(ctx, namespace)
	if err != nil {
		if spec.ClassOf(err) != ErrNotFound {
			return nil, err
		}
		ns = &Namespace{}
	}
	for i := range ns.Keys {
		if c.keys.knows(&ns.Keys[i], secret) {
			return &ns.Keys[i], nil
		}
	}
	for i := range ns.Keys {
		ok, err := c.keys.matches(ctx, &ns.Keys[i], secret)
		if err != nil {
			return nil, err
		}
		if ok {
			return &ns.Keys[i], nil
		}
	}
	if len(ns.Keys) == 0 { // as slow as a namespace with a key
		if _, err := c.keys.matches(ctx, &Key{Hash: nobody()}, secret); err != nil {
			return nil, err
		}
	}
	return nil, denied
}

// nobody is the hash of a secret that nobody has.
var nobody = sync.OnceValue(func() []byte {
	secret := make([]byte, 32)
	rand.Read(secret)
	hash, err := bcrypt.GenerateFromPassword(secret, bcrypt.DefaultCost)
	if err != nil {
		panic("sf: bcrypt: " + err.Error()) // cannot be: the secret has a length it takes
	}
	return hash
})

// keyring checks secrets against bcrypt hashes, which are slow on purpose: it
// bounds how many are computed at a time, and remembers right answers under a
// MAC whose key never leaves the process.
type keyring struct {
	slots  chan struct{}
	macKey [32]byte

	mu       sync.Mutex
	verified map[[32]byte]bool
}

const (
	hashers     = 2     // computed at a time
	maxVerified = 10000 // remembered answers
)

func (k *keyring) init() {
	k.slots = make(chan struct{}, hashers)
	k.verified = map[[32]byte]bool{}
	rand.Read(k.macKey[:])
}

func (k *keyring) acquire(ctx context.Context) error {
	select {
	case k.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *keyring) hash(ctx context.Context, secret string) ([]byte, error) {
	if err := k.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-k.slots }()
	return bcrypt.GenerateFromPassword([]byte(secret), bcrypt.DefaultCost)
}

// knows reports whether the secret was found right before.
func (k *keyring) knows(key *Key, secret string) bool {
	memo := k.memo(key, secret)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.verified[memo]
}

func (k *keyring) matches(ctx context.Context, key *Key, secret string) (bool, error) {
	if len(secret) > maxSecret {
		return false, nil
	}
	if err := k.acquire(ctx); err != nil {
		return false, err
	}
	defer func() { <-k.slots }()
	if bcrypt.CompareHashAndPassword(key.Hash, []byte(secret)) != nil {
		return false, nil
	}
	k.mu.Lock()
	if len(k.verified) >= maxVerified {
		clear(k.verified)
	}
	k.verified[k.memo(key, secret)] = true
	k.mu.Unlock()
	return true, nil
}

// memo names the answer "secret is right for this hash".
func (k *keyring) memo(key *Key, secret string) (memo [32]byte) {
	mac := hmac.New(sha256.New, k.macKey[:])
	mac.Write(key.Hash)
	mac.Write([]byte{0})
	mac.Write([]byte(secret))
	mac.Sum(memo[:0])
	return memo
}
