package netfab

import (
	"maps"
	"slices"
)

// Clone returns a copy that shares nothing with n.
func (n Network) Clone() Network {
	n.Ports = slices.Clone(n.Ports)
	n.Remote = slices.Clone(n.Remote)
	if n.Gateway != nil {
		g := *n.Gateway
		g.Floating = slices.Clone(g.Floating)
		n.Gateway = &g
	}
	return n
}

// Clone returns a copy that shares nothing with o.
func (o Observed) Clone() Observed {
	o.Outside.Peers = slices.Clone(o.Outside.Peers)
	o.Networks = slices.Clone(o.Networks)
	for i, n := range o.Networks {
		o.Networks[i] = n.Clone()
	}
	o.Damaged = maps.Clone(o.Damaged)
	for id, why := range o.Damaged {
		o.Damaged[id] = slices.Clone(why)
	}
	o.OutsideDamaged = slices.Clone(o.OutsideDamaged)
	o.Stray = slices.Clone(o.Stray)
	return o
}
