package fake

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Host is the part of a simulated machine that survives its processes. It is
// safe for concurrent use.
type Host struct {
	mu      sync.Mutex
	fabrics map[string]*netfab.Observed // by tag
	foreign map[string]bool             // names of things of other people's
	kept    map[string]time.Time        // until when fenced routers work, by tag
}

// NewHost returns an empty host.
func NewHost() *Host {
	return &Host{fabrics: map[string]*netfab.Observed{}, foreign: map[string]bool{}, kept: map[string]time.Time{}}
}

// String prints everything on the host, sorted, in the words of netfab.Step.
func (h *Host) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, tag := range slices.Sorted(maps.Keys(h.fabrics)) {
		if text := h.fabrics[tag].String(); text != "" {
			fmt.Fprintf(&b, "tag %q\n%s", tag, text)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.foreign)) {
		fmt.Fprintf(&b, "foreign %s\n", name)
	}
	return b.String()
}

// Occupy puts something of someone else's in the way of the network with that
// VNI under that tag; Vacate removes it.
func (h *Host) Occupy(tag string, vni uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.foreign[netfab.NamespaceName(tag, vni)] = true
}

// Vacate undoes Occupy.
func (h *Host) Vacate(tag string, vni uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.foreign, netfab.NamespaceName(tag, vni))
}

// Routes tells whether the routers of a tag forward and answer outside: always
// where they are not fenced, else while they are kept.
func (h *Host) Routes(tag string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.of(tag).Outside.Fenced || now.Before(h.kept[tag])
}

func (h *Host) keep(tag string, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept[tag] = until
}

func (h *Host) occupied(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.foreign[name]
}

// Edit lets a test change what is on the host behind the fabric's back: drift.
// What it leaves must be sorted as Observed says.
func (h *Host) Edit(tag string, edit func(*netfab.Observed)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	edit(h.of(tag))
}

// observe returns a copy that the caller may keep.
func (h *Host) observe(tag string) netfab.Observed {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of(tag).Clone()
}

// of returns a tag's part of the host; the caller holds the lock.
func (h *Host) of(tag string) *netfab.Observed {
	if h.fabrics[tag] == nil {
		h.fabrics[tag] = &netfab.Observed{}
	}
	return h.fabrics[tag]
}

// execute does one step.
func (h *Host) execute(tag string, s netfab.Step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.of(tag)
	switch s.Op {
	case netfab.StrayDel:
		o.Stray = remove(o.Stray, func(name string) bool { return name == s.Stray })
	case netfab.OutsideSet:
		o.Outside, o.OutsideDamaged = s.Outside, nil
	case netfab.OutsideDel:
		o.Outside, o.OutsideDamaged = netfab.Outside{}, nil
	case netfab.NetworkDel:
		o.Networks = remove(o.Networks, func(n netfab.Network) bool { return n.ID == s.Network })
		delete(o.Damaged, s.Network)
	case netfab.NetworkAdd, netfab.NetworkSet:
		setBase(o, s)
	default:
		for i := range o.Networks {
			if o.Networks[i].ID == s.Network {
				member(&o.Networks[i], s)
			}
		}
	}
	if len(o.Networks) == 0 {
		o.Underlay = netfab.Underlay{}
	}
}

// setBase does NetworkAdd and NetworkSet.
func setBase(o *netfab.Observed, s netfab.Step) {
	o.Underlay = netfab.Underlay{Addr: s.Underlay.Addr}
	delete(o.Damaged, s.Network)
	for i := range o.Networks {
		if n := &o.Networks[i]; n.ID == s.Network {
			n.Prefix, n.MTU, n.Router, n.DNS, n.Isolated = s.Want.Prefix, s.Want.MTU, s.Want.Router, s.Want.DNS, s.Want.Isolated
			return
		}
	}
	o.Networks = insert(o.Networks, netfab.Network{
		ID: s.Network, VNI: s.VNI, Prefix: s.Want.Prefix, MTU: s.Want.MTU, Router: s.Want.Router, DNS: s.Want.DNS, Isolated: s.Want.Isolated,
	}, func(n netfab.Network) string { return n.ID })
}

// member does the steps on what is in a network.
func member(n *netfab.Network, s netfab.Step) {
	samePort := func(p netfab.Port) bool { return p.ID == s.Port.ID }
	sameFloat := func(f netfab.Floating) bool { return f.Outside == s.Floating.Outside }
	sameRemote := func(r netfab.Remote) bool { return r.MAC == s.Remote.MAC }
	switch s.Op {
	case netfab.PortDel:
		n.Ports = remove(n.Ports, samePort)
	case netfab.PortAdd, netfab.PortSet:
		n.Ports = insert(remove(n.Ports, samePort), s.Port, func(p netfab.Port) string { return p.ID })
	case netfab.GatewayDel:
		n.Gateway = nil
	case netfab.GatewaySet:
		gateway(n).Addr, gateway(n).NAT = s.Want.Gateway.Addr, s.Want.Gateway.NAT
	case netfab.FloatDel:
		gateway(n).Floating = remove(gateway(n).Floating, sameFloat)
	case netfab.FloatAdd:
		gateway(n).Floating = insert(remove(gateway(n).Floating, sameFloat), s.Floating,
			func(f netfab.Floating) string { return string(f.Outside.AsSlice()) })
	case netfab.RemoteDel:
		n.Remote = remove(n.Remote, sameRemote)
	case netfab.RemoteAdd:
		n.Remote = insert(remove(n.Remote, sameRemote), s.Remote, func(r netfab.Remote) string { return r.MAC })
	}
}

// gateway returns a network's gateway, made where there is none.
func gateway(n *netfab.Network) *netfab.Gateway {
	if n.Gateway == nil {
		n.Gateway = &netfab.Gateway{}
	}
	return n.Gateway
}

// remove returns s without what gone names, nil when nothing is left.
func remove[T any](s []T, gone func(T) bool) []T {
	if s = slices.DeleteFunc(s, gone); len(s) == 0 {
		return nil
	}
	return s
}

// insert puts v where it belongs in s, which is sorted by key.
func insert[T any](s []T, v T, key func(T) string) []T {
	at, _ := slices.BinarySearchFunc(s, key(v), func(e T, k string) int { return cmp.Compare(key(e), k) })
	return slices.Insert(s, at, v)
}
