package sf_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// TestFloatingNetworkIsRemembered opens one store with several configurations: a
// tool that says nothing of the floating network works with whatever it is.
func TestFloatingNetworkIsRemembered(t *testing.T) {
	ctx := sftest.Context(t)
	records := memory.New(memory.Config{})
	defer records.Close()
	open := func(block string) (*sf.Cloud, error) {
		cfg := sf.Config{Store: records}
		if block != "" {
			cfg.FloatingNetwork = netip.MustParsePrefix(block)
		}
		return sf.Open(ctx, cfg)
	}
	for _, step := range []struct{ configured, want string }{
		{"", "192.168.20.0/24"},
		{"10.99.0.0/24", "10.99.0.0/24"},
		{"", "10.99.0.0/24"},
		{"10.98.0.0/24", "10.98.0.0/24"},
	} {
		c, err := open(step.configured)
		if err != nil {
			t.Fatalf("%q: %v", step.configured, err)
		}
		n, err := c.Network(ctx, sf.FloatingNetwork)
		if err != nil || n.Netblock != step.want {
			t.Errorf("configured %q: it is %+v, %v, want %s", step.configured, n, err, step.want)
		}
		c.Close()
	}
	if _, err := open("10.0.0.0/31"); err == nil || !strings.Contains(err.Error(), "floating network") {
		t.Errorf("a block without room: %v", err)
	}
}

// TestFloatingNetworkInUse refuses to move the block from under a network's
// outside address, which is inside the recorded block.
func TestFloatingNetworkInUse(t *testing.T) {
	ctx := sftest.Context(t)
	c := sftest.New(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	outside, err := c.Network(ctx, sf.FloatingNetwork)
	if err != nil || !outside.Prefix().Contains(n.Gateway) {
		t.Fatalf("outside address %s of %+v, %v", n.Gateway, outside, err)
	}
	_, err = sf.Open(ctx, sf.Config{Store: c.Store, FloatingNetwork: netip.MustParsePrefix("10.99.0.0/24")})
	if err == nil || !strings.Contains(err.Error(), n.Gateway.String()) {
		t.Errorf("moved from under %s: %v", n.Gateway, err)
	}
}

// TestFloat gives an interface a floating address and takes it back, twice, with
// everything that can be wrong.
func TestFloat(t *testing.T) {
	ctx := sftest.Context(t)
	c := sftest.New(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	i := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	j := newInstance(t, c, small("two", sf.InterfaceSpec{Network: n.UUID}))
	id, other := i.NICs[0].UUID, j.NICs[0].UUID
	if err := c.Defloat(ctx, id); !errors.Is(err, sf.ErrConflict) || !strings.Contains(err.Error(), "does not have") {
		t.Errorf("defloat of one without: %v", err)
	}
	addr, err := c.Float(ctx, id, "")
	if err != nil || !netip.MustParsePrefix("192.168.20.0/24").Contains(addr) || addr == n.Gateway {
		t.Fatalf("float: %s, %v", addr, err)
	}
	if nic, err := c.Interface(ctx, id); err != nil || nic.Floating != addr {
		t.Errorf("the interface: %+v, %v", nic, err)
	}
	if _, err := c.Float(ctx, id, ""); !errors.Is(err, sf.ErrConflict) || !strings.Contains(err.Error(), "already has") {
		t.Errorf("float again: %v", err)
	}
	for _, wrong := range []string{addr.String(), n.Gateway.String()} {
		if _, err := c.Float(ctx, other, wrong); !errors.Is(err, sf.ErrConflict) {
			t.Errorf("float to %s, which is taken: %v", wrong, err)
		}
	}
	for _, wrong := range []string{"10.0.0.9", "192.168.20.0", "192.168.20.1", "192.168.20.255", "nonsense"} {
		if _, err := c.Float(ctx, other, wrong); !errors.Is(err, sf.ErrInvalid) {
			t.Errorf("float to %s: %v", wrong, err)
		}
	}
	if err := c.Defloat(ctx, id); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Float(ctx, other, addr.String()); err != nil || got != addr { // it rests, and was asked for
		t.Errorf("float to what was given back: %s, %v", got, err)
	}
	if err := c.DeleteInstance(ctx, j.UUID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitInstance(ctx, j.UUID, sf.InstanceGone); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Float(ctx, id, addr.String()); err != nil || got != addr { // given back by the deletion
		t.Errorf("float to what a deletion gave back: %s, %v", got, err)
	}
	if _, err := c.Float(ctx, other, ""); !errors.Is(err, sf.ErrNotFound) {
		t.Errorf("float of a deleted interface: %v", err)
	}
	c.ComeToRest(t)
}

func TestFloatWithoutNAT(t *testing.T) {
	ctx := sftest.Context(t)
	c := sftest.New(t)
	n, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "inside", Netblock: "10.0.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	i := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	if _, err := c.Float(ctx, i.NICs[0].UUID, ""); !errors.Is(err, sf.ErrInvalid) || !strings.Contains(err.Error(), "no NAT") {
		t.Error(err)
	}
}

// TestFloatAtCreation asks for floating addresses where interfaces are asked for,
// as many as fit into one transaction with the most interfaces there can be.
func TestFloatAtCreation(t *testing.T) {
	ctx := sftest.Context(t)
	c := sftest.New(t)
	n := newNetwork(t, c, "10.0.0.0/24")
	want := small("one")
	want.UserData = []byte("#!/bin/sh")
	want.Metadata = sf.Metadata{"tags": []any{"a", "b", "c", "d", "e", "f", "g", "h"}}
	want.IdempotencyKey = "once"
	for range 8 {
		want.Interfaces = append(want.Interfaces, sf.InterfaceSpec{Network: n.UUID, Float: true})
	}
	i := newInstance(t, c, want)
	nics, err := c.InstanceInterfaces(ctx, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]bool{n.Gateway: true}
	for _, nic := range nics {
		if !netip.MustParsePrefix("192.168.20.0/24").Contains(nic.Floating) || seen[nic.Floating] {
			t.Errorf("interface %d has floating address %s; others: %v", nic.Order, nic.Floating, seen)
		}
		seen[nic.Floating] = true
	}
	if err := c.Defloat(ctx, nics[0].UUID); err != nil {
		t.Error(err)
	}
	if err := c.DeleteInstance(ctx, i.UUID); err != nil {
		t.Fatal(err)
	}
	closed, err := c.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.1.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateInstance(ctx, sf.System, small("two", sf.InterfaceSpec{Network: closed.UUID, Float: true}))
	if !errors.Is(err, sf.ErrInvalid) || !strings.Contains(err.Error(), "no NAT") {
		t.Errorf("floating where there is no NAT: %v", err)
	}
	c.ComeToRest(t)
}

// beforeCommit is a store that does something before a commit that changes a key.
type beforeCommit struct {
	store.Store
	key string
	any bool // whatever it changes
	do  func()
}

func (b *beforeCommit) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	if do := b.do; do != nil && (b.any || slices.ContainsFunc(txn.Do, func(op store.Op) bool { return op.Key == b.key })) {
		b.do = nil
		do()
	}
	return b.Store.Commit(ctx, txn)
}

// An address that another process claims while this one moves the floating block is
// not taken away again, nor is one claimed of a block that is no more.
func TestFloatingNetworkMovesAtomically(t *testing.T) {
	block := netip.MustParsePrefix("10.99.0.0/24")
	want := sf.NetworkSpec{Netblock: "10.0.0.0/24", NAT: true}
	t.Run("claimed before", func(t *testing.T) {
		c, ctx := sftest.New(t), sftest.Context(t)
		late := &beforeCommit{Store: c.Store, key: "sf/network/floating", do: func() {
			if _, err := c.CreateNetwork(ctx, sf.System, want); err != nil {
				t.Error(err)
			}
		}}
		if _, err := sf.Open(ctx, sf.Config{Store: late, FloatingNetwork: block}); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("it moved: %v", err)
		}
		c.MustHold(t, false)
	})
	t.Run("claimed after", func(t *testing.T) {
		c, ctx := sftest.New(t), sftest.Context(t)
		late := &beforeCommit{Store: c.Store}
		head, err := sf.Open(ctx, sf.Config{Store: late})
		if err != nil {
			t.Fatal(err)
		}
		moved := false
		late.any, late.do = true, func() {
			moved = true
			if _, err := sf.Open(ctx, sf.Config{Store: c.Store, FloatingNetwork: block}); err != nil {
				t.Error(err)
			}
		}
		n, err := head.CreateNetwork(ctx, sf.System, want)
		if err != nil || !moved || !block.Contains(n.Gateway) {
			t.Errorf("its address outside is %+v, %v", n, err)
		}
		c.MustHold(t, false)
	})
}
