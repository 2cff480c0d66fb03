package sf

import (
	"context"
	"errors"
	"net/netip"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Float gives an interface an address of the floating network, at which it is
// reached from outside and from the cloud's other networks. asked names the
// address; empty takes a free one. The network's router takes it up within
// moments. ErrConflict where the interface has one or the address is taken,
// ErrInvalid where its network has no way outside, ErrNoCapacity where the
// floating network is full.
func (c *Cloud) Float(ctx context.Context, id, asked string) (netip.Addr, error) {
	var addr netip.Addr
	err := record.Retry(ctx, func() error {
		return c.changeInterface(ctx, id, "float", func(nic *Interface, t *record.Txn) error {
			if nic.Floating.IsValid() {
				return spec.Errorf(ErrConflict, "this interface already has a floating ip").About("interface", id)
			}
			n, err := record.Get[spec.Network](ctx, c.records, record.NetworkKey(nic.Network))
			if err == nil {
				err = c.floatWith(ctx, t, nic, n.Value.NAT, asked, nil)
			}
			addr = nic.Floating
			return err
		})
	})
	return addr, err
}

// floatWith gives an interface a floating address in t. nat says whether its network
// has a way outside; mine are addresses that t claims already.
func (c *Cloud) floatWith(ctx context.Context, t *record.Txn, nic *Interface, nat bool, asked string, mine map[netip.Addr]bool) error {
	if !nat {
		return spec.Errorf(ErrInvalid, "network %s has no NAT and so no router that could carry a floating address", nic.Network).About("network", nic.Network)
	}
	outside, err := record.Get[spec.Network](ctx, c.records, record.NetworkKey(FloatingNetwork))
	if err != nil {
		return err
	}
	addr, err := c.pickAddress(ctx, FloatingNetwork, outside.Value.Prefix(), asked, mine)
	if err != nil {
		return err
	}
	nic.Floating = addr
	if len(mine) == 0 { // the first one of t
		t.If(store.RevisionIs(outside.Key, outside.Revision))
	}
	return c.claimAddress(ctx, t, FloatingNetwork, addr, nic.UUID, asked)
}

// Defloat takes an interface's floating address back. ErrConflict where it has none.
func (c *Cloud) Defloat(ctx context.Context, id string) error {
	return c.changeInterface(ctx, id, "defloat", func(nic *Interface, t *record.Txn) error {
		if !nic.Floating.IsValid() {
			return spec.Errorf(ErrConflict, "this interface does not have a floating ip").About("interface", id)
		}
		claims.Rest(t, FloatingNetwork, nic.Floating, c.cfg.Clock.Now())
		nic.Floating = netip.Addr{}
		return nil
	})
}

// changeInterface changes an interface's record, and tells so in an event of it.
func (c *Cloud) changeInterface(ctx context.Context, id, operation string, change func(*Interface, *record.Txn) error) error {
	where, err := record.Get[claims.Where](ctx, c.records, record.InterfaceIndexKey(id))
	if err != nil {
		return notFound(err, KindInterface, id)
	}
	_, err = record.Update(ctx, c.records, record.InterfaceKey(where.Value.Network, id), func(nic *Interface, t *record.Txn) error {
		if err := change(nic, t); err != nil {
			return err
		}
		return c.records.Event(ctx, t, Event{Time: c.cfg.Clock.Now(), Kind: KindInterface, Object: id, Operation: operation, Message: nic.Floating.String()})
	})
	if errors.Is(err, store.ErrNotFound) {
		return notFound(err, KindInterface, id)
	}
	return storeError(err)
}
