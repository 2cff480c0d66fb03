package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/shakenfist/cloud/dhcpd/dns"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
)

// fabricState is what the fabric is known to have. The fabric is one thing with
// one key: whatever changes, all of it is wanted anew.
type fabricState struct {
	ports    map[string]string // applied or, where that failed, perhaps still there: network by interface
	networks map[string]bool   // applied, by UUID
	left     map[string]bool   // networks that the last Apply left out
	failed   map[string]error  // in the last Apply, by network UUID
	failures map[string]int    // of a network in a row
	applied  bool              // at least once
	ended    map[string]bool   // instances that are forgotten; what is followed may still have their ports
	dhcp     map[string]*dhcpServer
	names    map[string]*nameServer
	restarts map[string]restart // of these servers
}

// What servers are called, before their network's UUID.
const (
	keyDHCP = "dhcp/"
	keyDNS  = "dns/"
)

func (f *fabricState) init() {
	f.ports, f.networks = map[string]string{}, map[string]bool{}
	f.failed, f.failures, f.ended = map[string]error{}, map[string]int{}, map[string]bool{}
	f.dhcp, f.names, f.restarts = map[string]*dhcpServer{}, map[string]*nameServer{}, map[string]restart{}
}

// has reports whether the fabric has all, and whether it has none, of some ports.
func (f *fabricState) has(nics []spec.NICRef) (all, none bool) {
	all, none = true, f.applied || len(nics) == 0
	for _, n := range nics {
		if f.ports[n.UUID] != "" {
			none = false
		} else {
			all = false
		}
		if f.failed[n.Network] != nil {
			none = false // nobody knows what is there
		}
	}
	return all, none
}

// waitForPorts waits until the fabric has, or no longer has, an instance's ports.
func (a *Agent) waitForPorts(ctx context.Context, i *spec.Instance, gone bool) (time.Duration, error) {
	m := a.of(i.UUID)
	a.mu.Lock()
	m.detach = gone
	if !gone {
		delete(a.fabric.ended, i.UUID)
	}
	var err error
	for _, n := range i.NICs {
		err = errors.Join(err, a.fabric.failed[n.Network])
	}
	a.mu.Unlock()
	a.vital.Add(keyFabric)
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
	err = a.Fabric.Apply(ctx, want.desired)
	failed, whole := networkErrors(err)
	if whole {
		a.blame(want, err)
		return 0, fmt.Errorf("fabric: %w", err)
	}
	for id, e := range a.serveDHCP(ctx, want, failed) {
		failed[id] = e
	}
	for id, e := range a.serveNames(ctx, want, failed) {
		failed[id] = errors.Join(failed[id], e)
	}
	a.applied(want, failed)
	a.settleRouters(want, failed)
	if len(failed) > 0 || err != nil {
		return 0, errors.Join(err, fmt.Errorf("fabric: %d networks failed", len(failed)))
	}
	return fabricEvery, nil
}

// blame has those who wait for the fabric say why, when nobody knows what it has.
func (a *Agent) blame(want *wantedFabric, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range want.desired.Networks {
		if a.fabric.failed[n.ID] == nil {
			a.queue.Add(keyNetwork + n.ID)
		}
		a.fabric.failed[n.ID] = err
	}
}

// rereadRouters asks the store who routes what after this node was absent: what it watches
// may not have told yet. It returns how many absences that makes good.
func (a *Agent) rereadRouters(ctx context.Context) (absences int, err error) {
	a.mu.Lock()
	absences = a.absences
	settled := a.settled == absences
	ids := sorted(slices.Collect(maps.Keys(a.view.networks)))
	a.mu.Unlock()
	if settled {
		return absences, nil
	}
	if a.Outside.Mode == netfab.Routed {
		ids = append(ids, spec.FloatingNetwork)
	}
	for _, id := range ids {
		r, err := record.Get[spec.Router](ctx, a.Records, record.RouterKey(id))
		if ignoreMissing(err) != nil {
			return 0, err
		}
		a.mu.Lock()
		switch n := a.view.networks[id]; {
		case id == spec.FloatingNetwork:
			if err == nil && r.Revision >= a.view.edgeAt { // what it watches may be newer
				a.view.edge, a.view.edgeAt = r.Value, r.Revision
			}
		case n != nil && (err != nil || r.Revision >= n.routerAt):
			n.router, n.routerAt = r.Value, max(n.routerAt, r.Revision)
		}
		a.mu.Unlock()
	}
	return absences, nil
}

// settleRouters lets this node's routers work again after it was absent, now that none is
// left here that is another's.
func (a *Agent) settleRouters(w *wantedFabric, failed map[string]error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range failed {
		if n := a.view.networks[id]; n == nil || n.router.Node != a.Name {
			return // nobody knows what is there
		}
	}
	if a.settled < w.settles {
		a.settled = w.settles
		a.vital.Add(keyKeep)
	}
}

// applied notes what the fabric has now and wakes whoever may have waited for it.
func (a *Agent) applied(want *wantedFabric, failed map[string]error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := &a.fabric
	ports, networks := map[string]string{}, map[string]bool{}
	for id, network := range f.ports {
		if failed[network] != nil {
			ports[id] = network
		}
	}
	for _, n := range want.desired.Networks {
		if failed[n.ID] != nil {
			continue
		}
		if !f.networks[n.ID] || f.failed[n.ID] != nil {
			a.queue.Add(keyNetwork + n.ID)
		}
		networks[n.ID] = true
		for _, p := range n.Ports {
			ports[p.ID] = n.ID
			if f.ports[p.ID] == "" {
				a.queue.Add(keyInstance + want.instance[p.ID])
			}
		}
	}
	f.left = map[string]bool{}
	for _, id := range want.leaving {
		f.left[id] = true
		if failed[id] == nil {
			a.queue.Add(keyNetwork + id)
		}
	}
	for _, id := range want.detached {
		a.queue.Add(keyInstance + id)
	}
	for _, id := range sorted(slices.Collect(maps.Keys(failed))) {
		if f.failed[id] == nil {
			a.queue.Add(keyNetwork + id)
		}
	}
	f.ports, f.networks, f.failed, f.applied = ports, networks, failed, true
}

// networkErrors splits an Apply's error by network; whole is that there is more to
// it, and nobody knows what was applied.
func networkErrors(err error) (failed map[string]error, whole bool) {
	failed = map[string]error{}
	var walk func(error)
	walk = func(err error) {
		var n *netfab.NetworkError
		var h *netfab.HostError
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				walk(e)
			}
		} else if errors.As(err, &n) {
			failed[n.Network] = n.Err
		} else if err != nil && !errors.As(err, &h) {
			whole = true
		}
	}
	walk(err)
	return failed, whole
}

// wantedFabric is the fabric as the records want it, with what else its
// reconciler needs to know of them.
type wantedFabric struct {
	desired  netfab.Desired
	networks map[string]spec.Network     // wanted, by UUID
	nics     map[string][]spec.Interface // attached, by network
	names    map[string][]dns.Host       // of all guests, by network
	instance map[string]string           // by interface
	leaving  []string                    // networks to be gone
	detached []string                    // instances whose ports are to be gone
	ended    map[string]bool             // instances that are forgotten, but not yet by the view
	settles  int                         // absences of this node after which it is as it is to be
}

// wanted is the fabric as the records want it, from what is known of them.
func (a *Agent) wanted(ctx context.Context) (*wantedFabric, error) {
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	settles, err := a.rereadRouters(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := &wantedFabric{
		settles:  settles,
		networks: map[string]spec.Network{}, nics: map[string][]spec.Interface{},
		names: map[string][]dns.Host{}, instance: map[string]string{}, ended: map[string]bool{},
	}
	w.desired.Outside = a.wantOutside()
	if a.Address.IsValid() {
		w.desired.Underlay = netfab.Underlay{Addr: a.Address, MTU: a.MTU}
	}
	for _, id := range sorted(slices.Collect(maps.Keys(a.view.networks))) {
		n := a.view.networks[id]
		if !a.stays(id) {
			w.leaving = append(w.leaving, id)
			continue
		}
		if err := a.want(w, n); err != nil {
			return nil, err
		}
	}
	a.fabric.ended = w.ended
	return w, nil
}

// hasPart reports whether this node has a part in a network.
func (a *Agent) hasPart(n *networkView) bool {
	if n.router.Node == a.Name {
		return true
	}
	for _, nic := range n.nics {
		if nic.Node == a.Name {
			return true
		}
	}
	return false
}

// stays reports whether a network is to be on this host; a.mu is held.
func (a *Agent) stays(network string) bool {
	n := a.view.networks[network]
	return n != nil && !n.ends && a.hasPart(n)
}

// want adds one network.
func (a *Agent) want(w *wantedFabric, n *networkView) error {
	d := netfab.Network{
		ID: n.UUID, VNI: n.VNI, Prefix: n.Prefix(), MTU: n.MTU(),
		Router: netfab.Router{Addr: n.Router(), MAC: n.RouterMAC}, DNS: a.servesNames(), Isolated: !n.NAT,
	}
	if n.NAT && n.router.Node == a.Name {
		d.Gateway = &netfab.Gateway{Addr: n.Gateway, NAT: true}
	}
	if n.NAT {
		a.wantRemote(&d, n.router.Node, n.RouterMAC, n.Router())
	}
	for _, id := range sorted(slices.Collect(maps.Keys(n.nics))) {
		nic := n.nics[id]
		mac, err := spec.ParseMAC(nic.MAC)
		if err != nil {
			return err
		}
		w.names[n.UUID] = append(w.names[n.UUID], dns.Host{Name: nic.Hostname, Addr: nic.Address})
		if d.Gateway != nil && nic.Floating.IsValid() {
			d.Gateway.Floating = append(d.Gateway.Floating, netfab.Floating{Outside: nic.Floating, Inside: nic.Address})
		}
		if nic.Node != a.Name {
			a.wantRemote(&d, nic.Node, mac, nic.Address)
			continue
		}
		if a.fabric.ended[nic.Instance] {
			w.ended[nic.Instance] = true
			continue
		}
		if m := a.instances[nic.Instance]; m != nil && m.detach {
			w.detached = append(w.detached, nic.Instance)
			continue
		}
		d.Ports = append(d.Ports, netfab.Port{ID: nic.UUID, MAC: mac, Addr: nic.Address})
		w.instance[nic.UUID] = nic.Instance
		w.nics[n.UUID] = append(w.nics[n.UUID], nic)
	}
	w.networks[n.UUID] = n.Network
	w.desired.Networks = append(w.desired.Networks, d)
	return nil
}

// wantRemote adds what is reached through another node, where there is a mesh
// with it.
func (a *Agent) wantRemote(d *netfab.Network, node, mac string, addr netip.Addr) {
	if vtep := a.view.nodes[node]; node != a.Name && vtep.IsValid() && a.Address.IsValid() {
		d.Remote = append(d.Remote, netfab.Remote{MAC: mac, Addr: addr, VTEP: vtep})
	}
}

// sorted is s in order: what is made from maps must not depend on their order.
func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
