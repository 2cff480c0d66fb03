package sftest

import (
	"context"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// readHeld reads which nodes are said to have which images, and finds where the list
// of the nodes and the index of the images differ.
func (v *view) readHeld(ctx context.Context, s store.Store) error {
	c := record.New(s, func() string { return "invariants" })
	index := map[string]string{}
	err := all(ctx, c, record.Root+"image/", func(k string, h claims.Held) { index[k] = h.ID })
	if err != nil {
		return err
	}
	v.held = map[string][]string{}
	listed := 0
	err = all(ctx, c, record.Root+"node-image/", func(k string, h claims.Held) {
		node, _, _ := strings.Cut(strings.TrimPrefix(k, record.Root+"node-image/"), "/")
		v.held[node] = append(v.held[node], h.ID)
		listed++
		if have := index[record.IndexOf(node, k)]; have != h.ID {
			v.fail("node %s is said to have image %s, and to have %q", node, h.ID, have)
		}
	})
	if listed != len(index) {
		v.fail("nodes are said to have %d images, and to have %d", listed, len(index))
	}
	return err
}

// checkHeld holds what a host is said to have against its cache.
func (v *view) checkHeld(ctx context.Context, h HostView) error {
	images, ok := h.Volumes.(driver.Images)
	if !ok {
		return nil
	}
	list, err := images.ListImages(ctx)
	for _, id := range v.held[h.Node] {
		if !slices.ContainsFunc(list, func(i driver.CachedImage) bool { return i.ID == id }) {
			v.fail("%s is said to have image %s, and does not", h.Node, id)
		}
	}
	if len(v.held[h.Node]) > 0 && !slices.ContainsFunc(v.nodes, func(n spec.Node) bool { return n.Name == h.Node }) {
		v.fail("%s is said to have images, and is no node", h.Node)
	}
	return err
}
