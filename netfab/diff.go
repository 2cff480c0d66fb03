package netfab

import (
	"maps"
	"slices"
	"strings"
)

// Diff decides how to get from have to want: first what must go, in every
// network, so that what one has had another can have; then the outside; then
// network by network (sorted by ID) base, ports, gateway and remotes. want must
// be in the form that Normalize gives. Equal fabrics need no steps. Diff is a
// pure function and changes neither argument.
func Diff(want Desired, have Observed) []Step {
	var steps []Step
	for _, stray := range have.Stray {
		steps = append(steps, Step{Op: StrayDel, Stray: stray})
	}
	existing := map[string]Network{}
	wanted := map[string]uint32{}
	for _, n := range want.Networks {
		wanted[n.ID] = n.VNI
	}
	for _, n := range have.Networks {
		if vni, ok := wanted[n.ID]; !ok || vni != n.VNI {
			steps = append(steps, Step{Op: NetworkDel, Network: n.ID, VNI: n.VNI})
			continue
		}
		existing[n.ID] = n
	}
	var later []Step
	for i := range want.Networks {
		d := differ{want: &want.Networks[i], host: want}
		old, ok := existing[d.want.ID]
		d.base(old, ok, have)
		d.ports(old.Ports)
		d.gateway(old, have.Outside)
		d.remotes(old.Remote)
		steps = append(steps, d.first...)
		later = append(later, d.then...)
	}
	steps = append(steps, diffOutside(want.Outside, have)...)
	return append(steps, later...)
}

// diffOutside makes the outside before routers, which need its bridge, and after
// those that are gone.
func diffOutside(want Outside, have Observed) []Step {
	switch {
	case !want.Prefix.IsValid() && (have.Outside.Prefix.IsValid() || len(have.OutsideDamaged) > 0):
		return []Step{{Op: OutsideDel}}
	case want.Prefix.IsValid() && (!want.Equal(have.Outside) || len(have.OutsideDamaged) > 0):
		return []Step{{Op: OutsideSet, Outside: want, Why: strings.Join(have.OutsideDamaged, "; ")}}
	}
	return nil
}

// differ collects the steps of one network: what goes and what comes.
type differ struct {
	want        *Network
	host        Desired
	first, then []Step
}

func (d *differ) del(s Step) { d.first = append(d.first, d.of(s)) }
func (d *differ) add(s Step) { d.then = append(d.then, d.of(s)) }

func (d *differ) of(s Step) Step {
	s.Network, s.VNI, s.Want = d.want.ID, d.want.VNI, d.want
	return s
}

func (d *differ) base(old Network, exists bool, have Observed) {
	w := d.want
	step := Step{Op: NetworkSet, Underlay: d.host.Underlay}
	switch damage := have.Damaged[w.ID]; {
	case !exists:
		step.Op = NetworkAdd
	case len(damage) > 0:
		step.Why = strings.Join(damage, "; ")
	case old.Prefix != w.Prefix || old.MTU != w.MTU || old.Router != w.Router || old.DNS != w.DNS || old.Isolated != w.Isolated:
	case have.Underlay.Addr != d.host.Underlay.Addr:
	default:
		return
	}
	d.add(step)
}

func (d *differ) ports(old []Port) {
	byID := map[string]Port{}
	for _, p := range old {
		byID[p.ID] = p
	}
	for _, p := range d.want.Ports {
		was, ok := byID[p.ID]
		delete(byID, p.ID)
		switch {
		case !ok:
			d.add(Step{Op: PortAdd, Port: p})
		case was != p:
			d.add(Step{Op: PortSet, Port: p})
		}
	}
	for _, p := range sortedValues(byID) {
		d.del(Step{Op: PortDel, Port: p})
	}
}

func (d *differ) gateway(was Network, outside Outside) {
	w, old := d.want.Gateway, was.Gateway
	if w == nil {
		if old != nil {
			d.del(Step{Op: GatewayDel})
		}
		return
	}
	have := map[string]Floating{}
	if old != nil {
		for _, f := range old.Floating {
			have[f.Outside.String()] = f
		}
	}
	var made []Step
	for _, f := range w.Floating {
		if have[f.Outside.String()] == f {
			delete(have, f.Outside.String())
			continue
		}
		made = append(made, Step{Op: FloatAdd, Floating: f})
	}
	for _, f := range sortedValues(have) {
		d.del(Step{Op: FloatDel, Floating: f})
	}
	moved := was.Prefix != d.want.Prefix || was.Router != d.want.Router || was.DNS != d.want.DNS || !outside.sameForRouters(d.host.Outside)
	if old == nil || old.Addr != w.Addr || old.NAT != w.NAT || moved {
		d.add(Step{Op: GatewaySet, Outside: d.host.Outside})
	}
	for _, s := range made {
		d.add(s)
	}
}

func (d *differ) remotes(old []Remote) {
	have := map[string]Remote{}
	for _, r := range old {
		have[r.MAC] = r
	}
	for _, r := range d.want.Remote {
		if have[r.MAC] == r {
			delete(have, r.MAC)
			continue
		}
		d.add(Step{Op: RemoteAdd, Remote: r})
	}
	for _, r := range sortedValues(have) {
		d.del(Step{Op: RemoteDel, Remote: r})
	}
}

// sortedValues returns a map's values in the order of its keys.
func sortedValues[V any](m map[string]V) []V {
	var out []V
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[key])
	}
	return out
}
