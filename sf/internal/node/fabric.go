package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// fabricState is what the fabric is known to have. The fabric is one thing with
// one key: whatever changes, all of it is wanted anew.
type fabricState struct {
	ports    map[string]bool  // applied, by interface UUID
	networks map[string]bool  // applied, by UUID
	failed   map[string]error // in the last Apply, by network UUID
	failures map[string]int   // of a network in a row
	applied  bool             // at least once
	dhcp     map[string]*dhcpServer
}

func (f *fabricState) init() {
	f.ports, f.networks = map[string]bool{}, map[string]bool{}
	f.failed, f.failures = map[string]error{}, map[string]int{}
	f.dhcp = map[string]*dhcpServer{}
}

// has reports whether the fabric has all, and whether it has none, of some ports.
func (f *fabricState) has(nics []spec.NICRef) (all, none bool) {
	all, none = true, f.applied || len(nics) == 0
	for _, n := range nics {
		if f.ports[n.UUID] {
			none = false
		} else {
			all = false
		}
	}
	return all, none
}

// waitForPorts waits until the fabric has, or no longer has, an instance's ports.
func (a *Agent) waitForPorts(ctx context.Context, i *spec.Instance, gone bool) (time.Duration, error) {
	m := a.of(i.UUID)
	a.mu.Lock()
	m.detach = gone
	var err error
	for _, n := range i.NICs {
		err = errors.Join(err, a.fabric.failed[n.Network])
	}
	a.mu.Unlock()
	a.queue.Add(keyFabric)
	if err == nil {
		return showAfter, nil // the fabric's reconciler wakes us much earlier
	}
	reason := "its network ports: " + err.Error()
	return showAfter, a.wait(ctx, i, reason, 0, nil)
}

// reconcileFabric makes the host's fabric what the records want, and then its
// networks' DHCP.
func (a *Agent) reconcileFabric(ctx context.Context) (time.Duration, error) {
	want, err := a.wanted(ctx)
	if err != nil {
		return 0, err
	}
	failed := map[string]error{}
	err = a.Fabric.Apply(ctx, want.desired)
	if err != nil {
		if failed = networkErrors(err); len(failed) == 0 {
			return 0, fmt.Errorf("fabric: %w", err)
		}
	}
	for id, e := range a.serveDHCP(ctx, want, failed) {
		failed[id] = e
	}
	a.applied(want, failed)
	if len(failed) > 0 {
		return 0, errors.Join(err, fmt.Errorf("fabric: %d networks failed", len(failed)))
	}
	return fabricEvery, nil
}

// applied notes what the fabric has now and wakes whoever may have waited for it.
func (a *Agent) applied(want *wantedFabric, failed map[string]error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := &a.fabric
	ports, networks := map[string]bool{}, map[string]bool{}
	for _, n := range want.desired.Networks {
		if failed[n.ID] != nil {
			continue
		}
		if !f.networks[n.ID] || f.failed[n.ID] != nil {
			a.queue.Add(keyNetwork + n.ID)
		}
		networks[n.ID] = true
		for _, p := range n.Ports {
			ports[p.ID] = true
			if !f.ports[p.ID] {
				a.queue.Add(keyInstance + want.instance[p.ID])
			}
		}
	}
	for _, id := range want.leaving {
		if failed[id] == nil {
			a.queue.Add(keyNetwork + id)
		}
	}
	for _, id := range want.detached {
		a.queue.Add(keyInstance + id)
	}
	for id := range failed {
		if f.failed[id] == nil {
			a.queue.Add(keyNetwork + id)
		}
	}
	f.ports, f.networks, f.failed, f.applied = ports, networks, failed, true
}

// networkErrors splits an Apply's error by network.
func networkErrors(err error) map[string]error {
	failed := map[string]error{}
	var walk func(error)
	walk = func(err error) {
		var n *netfab.NetworkError
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		} else if errors.As(err, &n) {
			failed[n.Network] = n.Err
		}
	}
	walk(err)
	return failed
}

// wantedFabric is the fabric as the records want it, with what else its
// reconciler needs to know of them.
type wantedFabric struct {
	desired  netfab.Desired
	networks map[string]spec.Network     // wanted, by UUID
	nics     map[string][]spec.Interface // attached, by network
	instance map[string]string           // by interface
	leaving  []string                    // networks to be gone
	detached []string                    // instances whose ports are to be gone
}

// wanted reads the networks that this node has a part in, and their interfaces here.
func (a *Agent) wanted(ctx context.Context) (*wantedFabric, error) {
	w := &wantedFabric{networks: map[string]spec.Network{}, nics: map[string][]spec.Interface{}, instance: map[string]string{}}
	outside, err := record.Get[spec.Network](ctx, a.Records, record.NetworkKey(spec.FloatingNetwork))
	if err != nil {
		return nil, err
	}
	w.desired.Outside = netfab.Outside{Prefix: outside.Value.Prefix(), Uplink: a.Uplink}
	if a.Address.IsValid() {
		w.desired.Underlay.Addr = a.Address
	}
	work, _, _, err := record.List[claims.Empty](ctx, a.Records, record.WorkKey(a.Name, spec.KindNetwork, ""), store.Page{})
	if err != nil {
		return nil, err
	}
	for _, o := range work {
		n, err := record.Get[spec.Network](ctx, a.Records, record.NetworkKey(record.Base(o.Key)))
		switch {
		case missing(err):
			continue
		case err != nil:
			return nil, err
		case n.Value.Deletion != nil:
			w.leaving = append(w.leaving, n.Value.UUID)
		default:
			if err := a.want(ctx, w, n.Value); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func (a *Agent) want(ctx context.Context, w *wantedFabric, n spec.Network) error {
	d := netfab.Network{
		ID: n.UUID, VNI: n.VNI, Prefix: n.Prefix(), MTU: mtu,
		Router: netfab.Router{Addr: n.Router(), MAC: n.RouterMAC},
	}
	if n.Node == a.Name && n.NAT {
		d.Gateway = &netfab.Gateway{Addr: n.Gateway, NAT: true}
	}
	nics, _, _, err := record.List[spec.Interface](ctx, a.Records, record.InterfacePrefix(n.UUID), store.Page{})
	if err != nil {
		return err
	}
	for _, o := range nics {
		nic := o.Value
		if nic.Node != a.Name {
			continue
		}
		if a.detaching(nic.Instance) {
			w.detached = append(w.detached, nic.Instance)
			continue
		}
		mac, err := spec.ParseMAC(nic.MAC)
		if err != nil {
			return err
		}
		d.Ports = append(d.Ports, netfab.Port{ID: nic.UUID, MAC: mac, Addr: nic.Address})
		w.instance[nic.UUID] = nic.Instance
		w.nics[n.UUID] = append(w.nics[n.UUID], nic)
	}
	w.networks[n.UUID] = n
	w.desired.Networks = append(w.desired.Networks, d)
	return nil
}

func (a *Agent) detaching(instance string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.instances[instance]
	return m != nil && m.detach
}

// reconcileNetwork reports on a network, or ends its deletion.
func (a *Agent) reconcileNetwork(ctx context.Context, id string) (time.Duration, error) {
	n, err := record.Get[spec.Network](ctx, a.Records, record.NetworkKey(id))
	if missing(err) {
		return never, nil
	}
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	have, failed, applied := a.fabric.networks[id], a.fabric.failed[id], a.fabric.applied
	a.mu.Unlock()
	switch {
	case n.Value.Deletion.Gone():
		return never, nil
	case n.Value.Deletion != nil && applied && !have && failed == nil:
		return never, a.leaveNetwork(ctx, id)
	case n.Value.Deletion != nil && failed == nil, !have && failed == nil:
		a.queue.Add(keyFabric)
		return showAfter, nil
	case n.Value.Node != a.Name:
		return never, nil
	}
	return never, a.reportNetwork(ctx, id, failed)
}

// leaveNetwork confirms that nothing of a deleted network is left here, and ends
// the deletion where no other node has a part in it either.
func (a *Agent) leaveNetwork(ctx context.Context, id string) error {
	t := a.Records.Begin().Delete(record.MemberKey(id, a.Name))
	if _, err := a.Records.Commit(ctx, t); err != nil {
		return err
	}
	err := claims.FinalizeNetwork(ctx, a.Records, id, a.Clock.Now(), a.Keep)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	_, err = a.Records.Commit(ctx, a.Records.Begin().Delete(record.WorkKey(a.Name, spec.KindNetwork, id)))
	a.queue.Add(keyJanitor)
	return err
}

func (a *Agent) reportNetwork(ctx context.Context, id string, failed error) error {
	now := a.Clock.Now()
	_, err := record.Update(ctx, a.Records, record.NetworkStatusKey(id), func(s *spec.NetworkStatus, t *record.Txn) error {
		was := s.State
		if failed != nil {
			if s.Wait != nil && s.Wait.Reason == failed.Error() {
				return record.ErrUnchanged
			}
			s.Wait = &spec.Wait{Reason: failed.Error(), Since: now, Next: now.Add(reconcile.Backoff(1))}
			return nil
		}
		if was == spec.StateCreated && s.Wait == nil {
			return record.ErrUnchanged
		}
		s.State, s.Wait, s.Error = spec.StateCreated, nil, ""
		if was == s.State {
			return nil
		}
		s.Since = now
		return a.Records.Event(ctx, t, a.event(spec.KindNetwork, id, "state changed", fmt.Sprintf("%s -> %s", was, s.State), ""))
	})
	return err
}
