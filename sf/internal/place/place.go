// Package place decides which node an instance runs on. It is pure: the nodes
// come in as a snapshot, chance as a function.
package place

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// Node is a candidate as the scheduler sees it.
type Node struct {
	Name     string
	Live     bool          // its agent holds its session
	Cordoned bool          // it takes nothing new
	Lacks    string        // what was asked for and it cannot make; empty where it can make all
	Limits   spec.Capacity // what may be claimed in all
	Used     spec.Capacity // what is claimed

	Affinity int  // sum of what the request feels for the instances there
	Networks int  // how many of the request's networks have guests there
	Images   int  // how many of the request's images are there
	Router   bool // it routes one of the request's networks
}

// Request is what is to be placed.
type Request struct {
	Need   spec.Capacity
	Forced string // node name: there or nowhere
}

// Refusal says why one node cannot take a request.
type Refusal struct {
	Node   string
	Reason string
}

// among is how many of the best nodes chance chooses from, so that several API
// heads with the same view do not all pick the same one.
const among = 3

// Choose ranks the nodes that can take the request, best first, and says for
// every other one why not. Preferred are, in this order: nodes with instances that
// the request wants to be near, or without those it wants to be far from; nodes
// that are members of its networks; those that have its images; those that do
// not route its networks; and then the emptiest.
func Choose(nodes []Node, req Request, intn func(int) int) (ranked []string, refused []Refusal) {
	var fit []*Node
	for k := range nodes {
		n := &nodes[k]
		if req.Forced != "" && n.Name != req.Forced {
			continue
		}
		if why := refuse(n, req.Need); why != "" {
			refused = append(refused, Refusal{n.Name, why})
			continue
		}
		fit = append(fit, n)
	}
	slices.SortFunc(fit, func(a, b *Node) int { return compare(a, b, req.Need) })
	best := 0
	for best < min(among, len(fit)) && prefer(fit[0], fit[best]) == 0 {
		best++
	}
	if best > 1 {
		i := intn(best)
		fit[0], fit[i] = fit[i], fit[0]
	}
	for _, n := range fit {
		ranked = append(ranked, n.Name)
	}
	return ranked, refused
}

// Best is the node that Choose ranks first, -1 where none can take the request. It
// looks at every node once and allocates nothing.
func Best(nodes []Node, req Request, intn func(int) int) int {
	var best [among]seat // the best few, in order
	found := 0
	for k := range nodes {
		n := &nodes[k]
		if req.Forced != "" && n.Name != req.Forced || !fits(n, req.Need) {
			continue
		}
		s, at := seat{node: n, at: k, fill: -1}, found
		for at > 0 && s.before(&best[at-1], req.Need) {
			at--
		}
		if at == among {
			continue
		}
		if s.fill < 0 {
			s.fill = fill(n, req.Need)
		}
		found = min(found+1, among)
		copy(best[at+1:found], best[at:])
		best[at] = s
	}
	equal := 0
	for equal < found && prefer(best[0].node, best[equal].node) == 0 {
		equal++
	}
	switch equal {
	case 0:
		return -1
	case 1:
		return best[0].at
	}
	return best[intn(equal)].at
}

// seat is a place among the best. How full a node would be is divided out once, and only where
// it matters.
type seat struct {
	node *Node
	at   int
	fill float64
}

// before is compare for seats.
func (s *seat) before(o *seat, need spec.Capacity) bool {
	if c := prefer(s.node, o.node); c != 0 {
		return c < 0
	}
	if s.fill < 0 {
		s.fill = fill(s.node, need)
	}
	return s.fill < o.fill || s.fill == o.fill && s.node.Name < o.node.Name
}

// compare orders nodes that can take a request, the preferred first.
func compare(a, b *Node, need spec.Capacity) int {
	if c := prefer(a, b); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(fill(a, need), fill(b, need)), strings.Compare(a.Name, b.Name))
}

// fits reports whether refuse has no reason.
func fits(n *Node, need spec.Capacity) bool {
	left := n.Limits.Sub(n.Used).Sub(need)
	return n.Live && !n.Cordoned && n.Lacks == "" && left.CPUs >= 0 && left.MemoryMiB >= 0 && left.DiskGB >= 0 && left.Instances >= 0
}

// prefer compares two nodes by all but how full they are.
func prefer(a, b *Node) int {
	switch {
	case a.Affinity != b.Affinity:
		return cmp.Compare(b.Affinity, a.Affinity)
	case a.Networks != b.Networks:
		return cmp.Compare(b.Networks, a.Networks)
	case a.Images != b.Images:
		return cmp.Compare(b.Images, a.Images)
	case a.Router != b.Router && a.Router:
		return 1
	case a.Router != b.Router:
		return -1
	}
	return 0
}

func refuse(n *Node, need spec.Capacity) string {
	free := n.Limits.Sub(n.Used)
	switch {
	case !n.Live:
		return "its agent is not running"
	case n.Cordoned:
		return "it is cordoned: it takes nothing new"
	case n.Lacks != "":
		return n.Lacks
	case need.CPUs > free.CPUs:
		return fmt.Sprintf("not enough CPU: %d asked, %d of %d left", need.CPUs, max(free.CPUs, 0), n.Limits.CPUs)
	case need.MemoryMiB > free.MemoryMiB:
		return fmt.Sprintf("not enough RAM: %d MiB asked, %d of %d left", need.MemoryMiB, max(free.MemoryMiB, 0), n.Limits.MemoryMiB)
	case need.DiskGB > free.DiskGB:
		return fmt.Sprintf("not enough disk: %d GB asked, %d of %d left", need.DiskGB, max(free.DiskGB, 0), n.Limits.DiskGB)
	case need.Instances > free.Instances:
		return fmt.Sprintf("it has all the %d instances it may have", n.Limits.Instances)
	}
	return ""
}

// fill is how full the fullest resource of n would be with need on top, 0 to 1.
func fill(n *Node, need spec.Capacity) float64 {
	with := n.Used.Add(need)
	part := func(used, limit int) float64 { return float64(used) / float64(max(limit, 1)) }
	return max(part(with.CPUs, n.Limits.CPUs), part(with.MemoryMiB, n.Limits.MemoryMiB), part(with.DiskGB, n.Limits.DiskGB))
}

// Explain makes one sentence of why nothing fits.
func Explain(req Request, refused []Refusal) string {
	if len(refused) == 0 {
		if req.Forced != "" {
			return fmt.Sprintf("node not found: %s", req.Forced)
		}
		return "there is no node"
	}
	var why []string
	for _, r := range refused {
		why = append(why, r.Node+": "+r.Reason)
	}
	return strings.Join(why, "; ")
}
