package sf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/internal/place"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Placement is where an instance would go now.
type Placement struct {
	Nodes   []string          `json:"nodes"`   // that can take it, the preferred first
	Refused map[string]string `json:"refused"` // why others cannot, by name
}

// PlaceInstance decides where an instance would go, and creates nothing. The
// errors are CreateInstance's, but for capacity: no node at all is a Placement.
func (c *Cloud) PlaceInstance(ctx context.Context, namespace string, want InstanceSpec) (*Placement, error) {
	if err := c.validate(want); err != nil {
		return nil, err
	}
	if err := c.exists(ctx, KindNamespace, namespace); err != nil {
		return nil, err
	}
	i := &Instance{UUID: "not-created", Namespace: namespace, InstanceSpec: want}
	forced, err := c.resolveSnapshots(ctx, namespace, &i.InstanceSpec)
	if err != nil {
		return nil, err
	}
	err = record.Retry(ctx, func() error {
		_, err := c.planInterfaces(ctx, c.records.Begin(), i, nil)
		return err
	})
	if err != nil {
		return nil, storeError(err)
	}
	all, err := c.candidates(ctx, i)
	if err != nil {
		return nil, err
	}
	defer c.keep(all)
	ranked, refused := place.Choose(all.candidates, request(i, forced), c.intn)
	p := &Placement{Nodes: ranked, Refused: map[string]string{}}
	for _, r := range refused {
		p.Refused[r.Node] = r.Reason
	}
	return p, nil
}

// request is what is asked of the scheduler. forced overrules where the instance asks
// to be.
func request(i *Instance, forced string) place.Request {
	return place.Request{Need: i.Claim(), Forced: cmp.Or(forced, i.PlacedOn)}
}

// candidates reads the nodes as the scheduler sees them for an instance.
func (c *Cloud) candidates(ctx context.Context, i *Instance) (*roster, error) {
	_, weights, err := spec.ParseAffinity(i.Metadata)
	if err != nil {
		return nil, err
	}
	feels, err := c.tagged(ctx, i.Namespace, weights)
	if err != nil {
		return nil, err
	}
	all, err := c.roster(ctx)
	if err != nil {
		return nil, err
	}
	all.candidates = all.candidates[:0]
	for k := range all.nodes() {
		n := &all.nodes()[k]
		all.candidates = append(all.candidates, place.Node{
			Name: n.Name, Live: n.Live, Cordoned: n.Cordoned, Lacks: lacks(n, i),
			Limits: n.Limits, Used: n.Used, Affinity: feels[n.Name],
		})
	}
	if err := c.countNetworks(ctx, i, all); err != nil {
		return nil, err
	}
	if err := c.countImages(ctx, i, all); err != nil {
		return nil, err
	}
	return all, nil
}

// countNetworks counts the networks that an instance is on where they have guests.
func (c *Cloud) countNetworks(ctx context.Context, i *Instance, all *roster) error {
	seen := map[string]bool{}
	for _, nic := range i.Interfaces {
		if seen[nic.Network] {
			continue
		}
		seen[nic.Network] = true
		if err := all.other.read(ctx, c, record.MemberPrefix(nic.Network), nil); err != nil {
			return err
		}
		router, err := record.Get[spec.Router](ctx, c.records, record.RouterKey(nic.Network))
		if errors.Is(err, store.ErrNotFound) {
			return spec.Errorf(ErrNotFound, "network %s not found", nic.Network).About("network", nic.Network)
		}
		if err != nil {
			return storeError(err)
		}
		for k := range all.candidates {
			switch n := &all.candidates[k]; {
			case n.Name == router.Value.Node: // it is a member for that alone: it counts as one without guests
				n.Router = true
			case all.other.has(n.Name):
				n.Networks++
			}
		}
	}
	return nil
}

// countImages counts the images that an instance asks for where they are cached.
// Only the very name counts, and each once.
func (c *Cloud) countImages(ctx context.Context, i *Instance, all *roster) error {
	seen := map[string]bool{"": true}
	for _, d := range i.Disks {
		if seen[d.Base] {
			continue
		}
		seen[d.Base] = true
		if err := all.other.read(ctx, c, record.HolderPrefix(d.Base), nil); err != nil {
			return err
		}
		for k := range all.candidates {
			if n := &all.candidates[k]; all.other.has(n.Name) {
				n.Images++
			}
		}
	}
	return nil
}

// placeInstance chooses a node and returns its name, and its ledger as read.
func (c *Cloud) placeInstance(ctx context.Context, i *Instance, forced string) (string, record.Object[spec.Capacity], error) {
	var none record.Object[spec.Capacity]
	all, err := c.candidates(ctx, i)
	if err != nil {
		return "", none, err
	}
	defer c.keep(all)
	best := place.Best(all.candidates, request(i, forced), c.intn)
	if best < 0 {
		return "", none, c.noPlace(i, forced, all.candidates)
	}
	node := &all.candidates[best]
	used, err := record.Get[spec.Capacity](ctx, c.records, record.NodeUsedKey(node.Name))
	if errors.Is(err, store.ErrNotFound) || err == nil && used.Value != node.Used {
		err = store.ErrConflict // it changed, or the node was removed, since it was read; look again
	}
	return node.Name, used, err
}

// noPlace says why an instance has no place.
func (c *Cloud) noPlace(i *Instance, forced string, candidates []place.Node) error {
	_, refused := place.Choose(candidates, request(i, forced), c.intn)
	if forced == "" {
		forced = i.PlacedOn
	}
	if forced != "" && len(refused) == 0 {
		return spec.Errorf(ErrNotFound, "node not found: %s", forced).About("node", forced)
	}
	// What no node can make is wrong with the request, not a lack of room.
	if every := len(refused) > 0; every {
		for _, r := range refused {
			every = every && candidates[slices.IndexFunc(candidates, func(n place.Node) bool { return n.Name == r.Node })].Lacks != ""
		}
		if every {
			return spec.Errorf(ErrInvalid, "%s", place.Explain(place.Request{}, refused))
		}
	}
	return spec.Errorf(ErrNoCapacity, "insufficient capacity: %s", place.Explain(place.Request{Forced: forced}, refused))
}

// lacks says what an instance asks for that a node cannot make; empty for nothing.
func lacks(n *Node, i *Instance) string {
	var why []string
	check := func(have []string, asked, what string, at ...int) {
		if asked != "" && !slices.Contains(have, asked) {
			for _, k := range at {
				what = fmt.Sprintf(what, k)
			}
			why = append(why, fmt.Sprintf("%s %q is not available, only %s", what, asked, strings.Join(have, ", ")))
		}
	}
	check(n.VideoModels, i.Video.Model, "video model")
	for k, d := range i.Disks {
		check(n.Buses, d.Bus, "disk %d: bus", k)
	}
	for k, nic := range i.Interfaces {
		check(n.NICModels, nic.Model, "network interface %d: model", k)
	}
	if i.UEFI && !n.UEFI {
		why = append(why, "uefi is not available: no UEFI firmware is installed (Debian package ovmf)")
	}
	return strings.Join(why, "; ")
}
