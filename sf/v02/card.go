package v02

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/internal/ipam"
	"github.com/shakenfist/cloud/sf/spec"
)

// card is an interface's record.
type card struct {
	id, network, instance, mac, address, floating, model string
	order                                                int
	err                                                  error
}

// readInterfaces sorts interfaces by the instances that have them.
func (r *reader) readInterfaces() {
	r.cards = map[string][]card{}
	for _, id := range slices.Sorted(maps.Keys(r.kinds["networkinterface"])) {
		o, err := parse(r.kinds["networkinterface"][id].Value)
		if err != nil {
			r.refuse(spec.KindInterface, id, "", err.Error()+", so it is not known which instance lacks it")
			continue
		}
		if o.members["state"] == "deleted" {
			continue
		}
		c := card{
			id: o.text("uuid"), network: o.text("network_uuid"), instance: o.text("instance_uuid"), mac: o.maybe("macaddr"),
			address: o.maybe("ipv4"), floating: o.maybe("floating"), model: o.maybe("model"), order: o.number("order", true),
		}
		if c.err = o.err(); c.err == nil && c.id != id {
			c.err = fmt.Errorf("its record is damaged: it says that it is %q", c.id)
		}
		if c.id = id; c.err == nil && !spec.ValidUUID(id) {
			c.err = errors.New("its record is damaged: it has no UUID")
		}
		r.cards[c.instance] = append(r.cards[c.instance], c)
	}
	for _, cards := range r.cards {
		slices.SortStableFunc(cards, func(a, b card) int { return cmp.Compare(a.order, b.order) })
	}
}

// plug gives an instance its interfaces. What they keep is theirs only once the whole
// instance is planned: take tells.
func (r *reader) plug(i *Instance) (take func(), err error) {
	var takes []func()
	mine := map[string]bool{} // addresses and MACs
	for k, c := range r.cards[i.UUID] {
		if c.err == nil {
			c.err = r.plugOne(i, k, c, mine, &takes)
		}
		if c.err != nil {
			return nil, fmt.Errorf("its interface %s: %w", c.id, c.err)
		}
	}
	return func() {
		for _, take := range takes {
			take()
		}
	}, nil
}

func (r *reader) plugOne(i *Instance, k int, c card, mine map[string]bool, takes *[]func()) error {
	n := r.networks[c.network]
	switch {
	case n == nil:
		return fmt.Errorf("its network %s is missing, deleted or refused", c.network)
	case n.Namespace != i.Namespace && i.Namespace != spec.System:
		return fmt.Errorf("its network %s is namespace %s's", c.network, n.Namespace)
	}
	want := spec.InterfaceSpec{Network: c.network, MAC: c.mac, Address: c.address, Model: c.model}
	addr, problem := r.address(n, c, mine)
	if problem != "" {
		if !r.Renumber {
			return errors.New(problem)
		}
		want.Address = ""
	}
	mac, bad := r.mac(c, mine)
	if bad != "" {
		if !r.Renumber {
			return errors.New(bad)
		}
		want.MAC = ""
	}
	i.Spec.Interfaces = append(i.Spec.Interfaces, want)
	i.Interfaces = append(i.Interfaces, Interface{UUID: c.id})
	mine[c.network+addr.String()], mine[mac] = true, true
	*takes = append(*takes, func() {
		if want.Address == "" {
			r.remark(spec.KindInterface, c.id, "", "it gets another address: "+problem)
		} else {
			r.blockOf(c.network)[addr] = c.id
		}
		if want.MAC == "" {
			r.remark(spec.KindInterface, c.id, "", "it gets another MAC: "+bad)
		} else {
			r.macs[mac] = c.id
		}
		i.Interfaces[k].Floating = r.float(n, c)
	})
	return nil
}

func (r *reader) blockOf(network string) map[netip.Addr]string {
	if r.blocks[network] == nil {
		r.blocks[network] = map[netip.Addr]string{}
	}
	return r.blocks[network]
}

// address is that of an interface, or what is wrong with it.
func (r *reader) address(n *Network, c card, mine map[string]bool) (netip.Addr, string) {
	addr, err := netip.ParseAddr(c.address)
	if err != nil {
		return addr, fmt.Sprintf("its address %q is none", c.address)
	}
	block, err := netip.ParsePrefix(n.Spec.Netblock)
	if err == nil {
		err = ipam.Usable(block, addr)
	}
	if err != nil {
		return addr, err.Error()
	}
	other := r.blockOf(c.network)[addr]
	if other != "" {
		return addr, fmt.Sprintf("its address %s is interface %s's too", addr, other)
	}
	if mine[c.network+addr.String()] {
		return addr, fmt.Sprintf("its address %s is that of another of the instance's", addr)
	}
	return addr, ""
}

// mac is that of an interface, or what is wrong with it.
func (r *reader) mac(c card, mine map[string]bool) (mac, problem string) {
	mac, err := spec.ParseMAC(c.mac)
	switch {
	case err != nil:
		return c.mac, err.Error()
	case r.macs[mac] != "":
		return mac, fmt.Sprintf("its MAC %s is interface %s's too", mac, r.macs[mac])
	case mine[mac]:
		return mac, fmt.Sprintf("its MAC %s is that of another of the instance's", mac)
	}
	return mac, ""
}

// float is an interface's floating address, where it can keep it.
func (r *reader) float(n *Network, c card) netip.Addr {
	if strings.TrimSpace(c.floating) == "" {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(c.floating)
	problem := ""
	switch {
	case err != nil:
		problem = "it is none"
	case !n.Spec.NAT:
		problem = "its network has no NAT, and so no router that could carry it"
	default:
		problem = r.outside(addr, "interface "+c.id)
	}
	if problem == "" {
		return addr
	}
	r.remark(spec.KindInterface, c.id, "", fmt.Sprintf("its floating address %s is left out: %s", c.floating, problem))
	return netip.Addr{}
}
