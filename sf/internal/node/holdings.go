package node

import (
	"context"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/store"
)

// maxNear is how many neighbours are asked for an image before its origin is.
const maxNear = 3

// obtain makes an image present, with the help of nodes that are said to have it,
// and lets it be known that this node has it.
func (a *Agent) obtain(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, error) {
	var err error
	if ref.Near, err = a.holders(ctx, ref.Name); err != nil {
		a.Logger.Warn("which nodes have an image is not known now", "node", a.Name, "error", err)
	}
	img, err := a.fetchImage(ctx, ref, report)
	if err != nil {
		return img, err
	}
	if err := claims.Hold(ctx, a.Records, a.Name, ref.Name, img.ID); err != nil {
		a.Logger.Warn("other nodes do not know yet that this one has an image", "node", a.Name, "image", img.Name, "error", err)
	}
	return img, nil
}

// holders returns live nodes that are said to have an image, each node's list in an
// order of its own, so that not all ask the same one.
func (a *Agent) holders(ctx context.Context, name string) ([]string, error) {
	l, err := a.Records.Store().List(ctx, record.HolderPrefix(name), store.Page{})
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var nodes []string
	for _, r := range l.Records {
		if n := record.Base(r.Key); n != a.Name && a.view.live[n] {
			nodes = append(nodes, n)
		}
	}
	nodes = Succession(a.Name+"/"+name, nodes)
	return nodes[:min(maxNear, len(nodes))], nil
}

// letGo forgets images that are not in the cache any more, however they went.
func (a *Agent) letGo(ctx context.Context, images driver.Images) error {
	return claims.LetGo(ctx, a.Records, a.Name, func() (map[string]bool, error) {
		list, err := images.ListImages(ctx)
		ids := make(map[string]bool, len(list))
		for _, i := range list {
			ids[i.ID] = true
		}
		return ids, err
	})
}
