//go:build linux

package linux

import (
	"strings"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// A namespace whose name somebody takes away (`umount`, `ip netns del`) lives on while a
// hypervisor has a tap in it open, with its guests, and with its VXLAN device, beside which
// the kernel makes no other of the same number. It gets its name back.

// miss notes which networks that were known are not there.
func (f *Fabric) miss(before map[string]known) {
	for id := range before {
		if _, there := f.known[id]; !there {
			f.lost[id] = true
		}
	}
}

// withoutName opens the namespace of a network that has lost its name; nil for none. It is
// looked for where the network was known, or where nobody knows yet what was: to do so for
// each that is made would cost more than to make it.
func (a *apply) withoutName(s netfab.Step) (*netns.NS, error) {
	if a.applied && !a.lost[s.Network] {
		return nil, nil
	}
	if a.unnamed == nil {
		all, err := netns.OfTaps()
		if err != nil {
			return nil, err
		}
		a.unnamed = map[string]*netns.NS{}
		for _, ns := range all {
			if mark := networkOf(ns); strings.HasPrefix(mark, a.names.networkAlias("")) && a.unnamed[mark] == nil {
				a.unnamed[mark] = ns
			} else {
				ns.Close()
			}
		}
	}
	mark := a.names.networkAlias(s.Network)
	ns := a.unnamed[mark]
	delete(a.unnamed, mark)
	return ns, nil
}

// networkOf reads the mark of a namespace.
func networkOf(ns *netns.NS) string {
	conn, err := rt.Dial(ns.Fd())
	if err != nil {
		return ""
	}
	defer conn.Close()
	lo, err := conn.Link("lo")
	if err != nil {
		return ""
	}
	return lo.Alias
}

// rename gives a network's namespace its name back and makes it right in place. What more
// is in it is seen when all is looked at again.
func (a *apply) rename(ns *netns.NS, s netfab.Step) error {
	r, err := a.open(s.VNI, ns)
	if err != nil {
		ns.Close()
		return err
	}
	a.room = r
	if err := a.hook("name the namespace again"); err != nil {
		return err
	}
	if err := ns.Mount(a.path(s.VNI), a.names.networkAlias(s.Network)+"\n"); err != nil {
		return err
	}
	a.renamed = append(a.renamed, s.Network)
	return a.setNetwork(r, s)
}
