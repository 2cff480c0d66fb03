package v02

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/shakenfist/cloud/sf/internal/ipam"
	"github.com/shakenfist/cloud/sf/spec"
)

func (r *reader) readNetworks() {
	if rec, ok := r.kinds["network"][spec.FloatingNetwork]; ok {
		if err := r.floating(rec); err != nil {
			r.refuse(spec.KindNetwork, spec.FloatingNetwork, "", err.Error()+"; floating addresses are left out")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.kinds["network"])) {
		if id == spec.FloatingNetwork {
			continue
		}
		n, name, err := r.network(id)
		if err != nil {
			r.refuse(spec.KindNetwork, id, name, err.Error())
		}
		if n != nil {
			r.networks[id] = n
			r.plan.Networks = append(r.plan.Networks, *n)
		}
	}
}

// floating reads the block of the outside addresses.
func (r *reader) floating(rec Record) error {
	o, err := parse(rec.Value)
	if err != nil {
		return err
	}
	block := o.text("netblock")
	if err := o.err(); err != nil {
		return err
	}
	r.plan.Floating, err = spec.ParseNetblock(block)
	return err
}

// network reads one network; nil without an error for one that is deleted.
func (r *reader) network(id string) (n *Network, name string, err error) {
	o, err := parse(r.kinds["network"][id].Value)
	if err != nil {
		return nil, "", err
	}
	name = o.maybe("name")
	state := o.text("state")
	if state == "deleted" {
		return nil, name, nil
	}
	n = &Network{
		UUID: o.text("uuid"), Namespace: o.maybe("namespace"),
		Spec: spec.NetworkSpec{Name: name, Netblock: o.text("netblock"), DHCP: o.truth("provide_dhcp"), NAT: o.truth("provide_nat")},
	}
	vni, gateway := o.number("vxid", true), o.maybe("floating_gateway")
	if err := o.err(); err != nil {
		return nil, name, err
	}
	if err := r.owned(id, n.UUID, n.Namespace); err != nil {
		return nil, name, err
	}
	if state != "created" && state != "initial" {
		return nil, name, fmt.Errorf("its state is %q", state)
	}
	if err := n.Spec.Validate(); err != nil {
		return nil, name, err
	}
	if n.VNI, err = r.vni(id, name, vni); err != nil {
		return nil, name, err
	}
	if n.Spec.NAT && gateway != "" {
		if n.Gateway, err = netip.ParseAddr(gateway); err != nil {
			r.remark(spec.KindNetwork, id, name, fmt.Sprintf("it gets another address outside: its own, %q, is none", gateway))
		}
	}
	n.Metadata, err = r.metadata(spec.KindNetwork, id)
	if err != nil {
		return nil, name, err
	}
	return n, name, nil
}

// owned checks what every object has: the UUID of its key, and a namespace.
func (r *reader) owned(id, uuid, namespace string) error {
	switch {
	case uuid != id:
		return fmt.Errorf("its record is damaged: it says that it is %q", uuid)
	case !spec.ValidUUID(id):
		return fmt.Errorf("its record is damaged: %q is not a UUID", id)
	case namespace == "":
		return fmt.Errorf("it belongs to no namespace")
	case !r.namespaces[namespace]:
		return fmt.Errorf("its namespace %s is missing or refused", namespace)
	}
	return nil
}

// vni is the VXLAN ID that a network keeps; 0 for another.
func (r *reader) vni(id, name string, vni int) (uint32, error) {
	problem := ""
	if other := r.vnis[uint32(vni)]; vni < 1 || vni >= 1<<24 {
		problem = fmt.Sprintf("its VXLAN ID %d is none", vni)
	} else if other != "" {
		problem = fmt.Sprintf("its VXLAN ID %d is network %s's too", vni, other)
	}
	if problem == "" {
		r.vnis[uint32(vni)] = id
		return uint32(vni), nil
	}
	if !r.Renumber {
		return 0, fmt.Errorf("%s", problem)
	}
	r.remark(spec.KindNetwork, id, name, "it gets another VXLAN ID: "+problem)
	return 0, nil
}

// gateways lets networks keep their addresses outside, where no interface has them:
// what a network gives back by accident, the original hands out again.
func (r *reader) gateways() {
	for i := range r.plan.Networks {
		n := &r.plan.Networks[i]
		if !n.Gateway.IsValid() {
			continue
		}
		if problem := r.outside(n.Gateway, "network "+n.UUID); problem != "" {
			r.remark(spec.KindNetwork, n.UUID, n.Spec.Name, fmt.Sprintf("it gets another address outside than %s: %s", n.Gateway, problem))
			n.Gateway = netip.Addr{}
		}
	}
}

// outside gives an object an address of the floating network, or says why it cannot.
func (r *reader) outside(a netip.Addr, owner string) string {
	if !r.plan.Floating.IsValid() {
		return "there is no floating network"
	}
	if err := ipam.Usable(r.plan.Floating, a); err != nil {
		return err.Error()
	}
	if other := r.floats[a]; other != "" {
		return fmt.Sprintf("%s has it too", other)
	}
	r.floats[a] = owner
	return ""
}
