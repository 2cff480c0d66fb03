package v02

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// leftovers tells of records that come with no object of the plan.
func (r *reader) leftovers() {
	for _, instance := range slices.Sorted(maps.Keys(r.cards)) {
		if _, ok := r.kinds["instance"][instance]; ok && instance != "" {
			continue
		}
		for _, c := range r.cards[instance] {
			why := "its instance " + instance + " is gone"
			if c.err != nil {
				why = c.err.Error()
			}
			r.refuse(spec.KindInterface, c.id, "", why)
		}
	}
	count := map[string]int{}
	for key := range r.kinds["snapshot"] {
		instance, _, _ := strings.Cut(key, "/")
		count[instance]++
	}
	for _, instance := range slices.Sorted(maps.Keys(count)) {
		r.refuse(spec.KindSnapshot, "of "+instance, "", fmt.Sprintf("%d snapshots of disks stay where they are: files below snapshots/ of the original's nodes", count[instance]))
	}
}

// settle tells which addresses of a network are claimed by nobody, and come free.
func (r *reader) settle(network string) {
	rec, ok := r.kinds["ipmanager"][network]
	n := r.networks[network]
	if !ok || n == nil {
		return
	}
	block, err := netip.ParsePrefix(n.Spec.Netblock)
	o, damaged := parse(rec.Value)
	if damaged != nil || err != nil {
		r.remark(spec.KindNetwork, network, n.Spec.Name, "the record of its addresses is damaged; they are claimed as its interfaces have them")
		return
	}
	list, _ := o.object("ipmanager.v1").members["in_use"].([]any)
	free := map[netip.Addr]bool{}
	for _, v := range list {
		text, _ := v.(string)
		addr, err := netip.ParseAddr(text)
		if err != nil || addr == block.Addr() || addr == block.Addr().Next() || !block.Contains(addr.Next()) {
			continue // reserved, or nonsense
		}
		if r.blocks[network][addr] == "" {
			free[addr] = true
		}
	}
	if len(free) > 0 {
		var names []string
		for _, a := range slices.SortedFunc(maps.Keys(free), netip.Addr.Compare) {
			names = append(names, a.String())
		}
		more := ""
		if len(names) > 8 {
			names, more = names[:8], fmt.Sprintf(" and %d more", len(names)-8)
		}
		r.remark(spec.KindNetwork, network, n.Spec.Name, fmt.Sprintf("no interface that comes along has %s%s, which were claimed: they are free here", strings.Join(names, ", "), more))
	}
}
