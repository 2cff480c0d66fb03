package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// metadataOf is the metadata that an instance is created with: what it was given, and
// its tags and affinities, which are metadata too.
func metadataOf(o *createOptions) (spec.Metadata, error) {
	m := spec.Metadata{}
	for _, s := range o.metadata {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--metadata is KEY=VALUE, not %q", s)
		}
		m[key] = value
	}
	if len(o.tags) > 0 {
		m["tags"] = []string(o.tags)
	}
	weights := map[string]int{}
	for _, s := range o.affinities {
		label, weight, _ := strings.Cut(s, "=")
		n, err := strconv.Atoi(weight)
		if err != nil || label == "" {
			return nil, fmt.Errorf("--affinity is LABEL=WEIGHT with a whole number, not %q", s)
		}
		weights[label] = n
	}
	if len(weights) > 0 {
		m["affinity"] = weights
	}
	if len(m) == 0 {
		return nil, nil
	}
	_, _, err := spec.ParseAffinity(m)
	return m, err
}

// placement shows where an instance would go.
func (a *app) placement(ctx context.Context, c *client.Client, namespace string, s spec.InstanceSpec) error {
	p, err := c.PlaceInstance(ctx, namespace, s)
	if err != nil {
		return err
	}
	if a.format == asJSON {
		err = a.printJSON(object{"nodes": append([]string{}, p.Nodes...), "why_not": p.Refused})
	} else {
		l := &list{columns: []string{"node", "preference", "why not"}}
		for i, n := range p.Nodes {
			l.add(n, i+1, nil)
		}
		for _, n := range slices.Sorted(maps.Keys(p.Refused)) {
			l.add(n, nil, p.Refused[n])
		}
		err = a.print(l)
	}
	if err == nil && len(p.Nodes) == 0 {
		err = toldError{spec.Errorf(spec.ErrNoCapacity, "no node could take the instance now")}
	}
	return err
}
