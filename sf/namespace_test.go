package sf_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
)

func TestKeys(t *testing.T) {
	c, ctx := sftest.New(t), t.Context() // hashing waits for nobody, and takes minutes on a busy machine with -race
	if err := c.CreateNamespace(ctx, "ns"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetKey(ctx, "ns", "one", "secret1"); err != nil {
		t.Fatal(err)
	}
	key, err := c.Authenticate(ctx, "ns", "secret1")
	if err != nil || key.Name != "one" {
		t.Fatal(key, err)
	}
	if again, err := c.Authenticate(ctx, "ns", "secret1"); err != nil || again.Nonce != key.Nonce {
		t.Fatal(again, err)
	}
	for _, bad := range [][2]string{{"ns", "secret2"}, {"ns", ""}, {"nobody", "secret1"}} {
		if _, err := c.Authenticate(ctx, bad[0], bad[1]); !errors.Is(err, sf.ErrUnauthorized) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := c.SetKey(ctx, "ns", "one", "changed"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authenticate(ctx, "ns", "secret1"); !errors.Is(err, sf.ErrUnauthorized) {
		t.Errorf("the old secret still works: %v", err)
	}
	if now, err := c.Authenticate(ctx, "ns", "changed"); err != nil || now.Nonce == key.Nonce {
		t.Errorf("%v, %v: a changed key must have another nonce", now, err)
	}
	if err := c.DeleteKey(ctx, "ns", "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authenticate(ctx, "ns", "changed"); !errors.Is(err, sf.ErrUnauthorized) {
		t.Errorf("a deleted key still works: %v", err)
	}
	for _, tc := range []struct {
		err   error
		class error
	}{
		{c.DeleteKey(ctx, "ns", "one"), sf.ErrNotFound},
		{c.SetKey(ctx, "nobody", "k", "s"), sf.ErrNotFound},
		{c.SetKey(ctx, "ns", "service_key", "s"), sf.ErrForbidden},
		{c.SetKey(ctx, "ns", "k", ""), sf.ErrInvalid},
		{c.SetKey(ctx, "ns", "k/x", "s"), sf.ErrInvalid},
		{c.SetKey(ctx, "ns", "k", string(make([]byte, 73))), sf.ErrInvalid},
		{c.CreateNamespace(ctx, "a/b"), sf.ErrInvalid},
		{c.CreateNamespace(ctx, ""), sf.ErrInvalid},
		{c.DeleteNamespace(ctx, sf.System), sf.ErrForbidden},
	} {
		if !errors.Is(tc.err, tc.class) {
			t.Errorf("%v, want %v", tc.err, tc.class)
		}
	}
}

func TestDeleteNamespace(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	if err := c.CreateNamespace(ctx, "ns"); err != nil {
		t.Fatal(err)
	}
	n, err := c.CreateNetwork(ctx, "ns", sf.NetworkSpec{Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteNamespace(ctx, "ns"); !errors.Is(err, sf.ErrInUse) || err.Error() != "you cannot delete a namespace with networks" {
		t.Fatal(err)
	}
	if err := c.DeleteNetwork(ctx, n.UUID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitNetwork(ctx, n.UUID, sf.NetworkGone); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteNamespace(ctx, "ns"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Network(ctx, n.UUID); !errors.Is(err, sf.ErrNotFound) {
		t.Errorf("its deleted network is still there: %v", err)
	}
	if err := c.DeleteNamespace(ctx, "ns"); err != nil {
		t.Errorf("deleting one that is gone: %v", err)
	}
	if _, err := c.CreateNetwork(ctx, "ns", sf.NetworkSpec{Netblock: "10.0.0.0/24"}); !errors.Is(err, sf.ErrNotFound) {
		t.Errorf("creating in one that is gone: %v", err)
	}
}

func TestMetadata(t *testing.T) {
	c, ctx := sftest.New(t), sftest.Context(t)
	if m, err := c.Metadata(ctx, sf.KindNamespace, sf.System); err != nil || len(m) != 0 {
		t.Fatal(m, err)
	}
	for k, v := range map[string]any{"s": "text", "n": 1.5, "o": map[string]any{"a": "b"}} {
		if err := c.SetMetadata(ctx, sf.KindNamespace, sf.System, k, v); err != nil {
			t.Fatal(err)
		}
	}
	want := sf.Metadata{"s": "text", "n": 1.5, "o": map[string]any{"a": "b"}}
	if m, err := c.Metadata(ctx, sf.KindNamespace, sf.System); err != nil || !reflect.DeepEqual(m, want) {
		t.Fatal(m, err)
	}
	if err := c.DeleteMetadata(ctx, sf.KindNamespace, sf.System, "s"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		err   error
		class error
	}{
		{c.DeleteMetadata(ctx, sf.KindNamespace, sf.System, "s"), sf.ErrNotFound},
		{c.SetMetadata(ctx, sf.KindInstance, "nope", "k", "v"), sf.ErrNotFound},
		{c.SetMetadata(ctx, sf.KindNamespace, sf.System, "", "v"), sf.ErrInvalid},
		{c.SetMetadata(ctx, sf.KindNamespace, sf.System, "~commit", "v"), sf.ErrInvalid},
		{c.SetMetadata(ctx, sf.KindNamespace, sf.System, "big", string(make([]byte, 70<<10))), sf.ErrInvalid},
		{c.SetMetadata(ctx, sf.KindNamespace, sf.System, "fn", func() {}), sf.ErrInvalid},
		{c.SetMetadata(ctx, sf.KindNode, "node1", "k", "v"), sf.ErrInvalid},
	} {
		if !errors.Is(tc.err, tc.class) {
			t.Errorf("%v, want %v", tc.err, tc.class)
		}
	}
}
