// Package place decides which node an instance runs on. It is pure: the nodes
// come in as a snapshot, chance as a function.
package place

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// Node is a candidate as the scheduler sees it.
type Node struct {
	Name   string
	Live   bool          // its agent holds its session
	Limits spec.Capacity // what may be claimed in all
	Used   spec.Capacity // what is claimed
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
// every other one why not.
func Choose(nodes []Node, req Request, intn func(int) int) (ranked []string, refused []Refusal) {
	var fit []Node
	for _, n := range nodes {
		if req.Forced != "" && n.Name != req.Forced {
			continue
		}
		if why := refuse(n, req.Need); why != "" {
			refused = append(refused, Refusal{n.Name, why})
			continue
		}
		fit = append(fit, n)
	}
	slices.SortStableFunc(fit, func(a, b Node) int {
		fa, fb := fill(a, req.Need), fill(b, req.Need)
		switch {
		case fa < fb:
			return -1
		case fa > fb:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	if best := min(among, len(fit)); best > 1 {
		i := intn(best)
		fit[0], fit[i] = fit[i], fit[0]
	}
	for _, n := range fit {
		ranked = append(ranked, n.Name)
	}
	return ranked, refused
}

func refuse(n Node, need spec.Capacity) string {
	free := n.Limits.Sub(n.Used)
	switch {
	case !n.Live:
		return "its agent is not running"
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
func fill(n Node, need spec.Capacity) float64 {
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
