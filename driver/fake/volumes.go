package fake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/driver"
)

// volumes is the state behind Volumes. The Host's lock guards it.
type volumes struct {
	images    map[string]driver.Image // by ID
	instances map[string][]made
	snapshots map[string]*snapshot
	copies    map[string]bool // paths of snapshots that hold a whole copy
	fetches   int
	copied    int
	full      bool
}

type made struct {
	disk    driver.Disk
	size    int64
	image   string // ID under it
	content []byte
}

// Volumes is a handle on a host's volumes.
type Volumes struct{ host *Host }

var _ driver.Volumes = (*Volumes)(nil)

// Volumes opens the host's volumes.
func (h *Host) Volumes() *Volumes { return &Volumes{host: h} }

func anyImage(ref driver.ImageRef) (driver.Image, error) {
	sum := sha256.Sum256([]byte(ref.Name))
	img := driver.Image{ID: hex.EncodeToString(sum[:]), Name: ref.Name, Format: "qcow2", VirtualSize: 1 << 30}
	if strings.HasSuffix(ref.Name, ".iso") {
		img.Format, img.CDROM = "raw", true
	}
	return img, nil
}

// Fetch implements driver.Volumes. An image is downloaded once, and not at all
// where a neighbour has it.
func (v *Volumes) Fetch(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (img driver.Image, err error) {
	h := v.host
	near := h.near(ref)
	fresh := false
	err = h.call(ctx, "Volumes.Fetch", ref.Name, func() error {
		got, err := h.cfg.Image(ref)
		if err != nil {
			return fmt.Errorf("fake: image %s: %w", driver.Redact(ref.Name), err)
		}
		if _, ok := h.vol.images[got.ID]; !ok {
			if h.vol.full {
				return fmt.Errorf("fake: image %s: %w", driver.Redact(ref.Name), driver.ErrNoSpace)
			}
			h.vol.images[got.ID] = got
			if near[got.ID] {
				h.vol.copied++
			} else {
				h.vol.fetches++
			}
			fresh = true
		}
		img = got
		return nil
	})
	if err == nil && fresh && report != nil {
		report(driver.Progress{Stage: "downloading", Done: img.VirtualSize, Total: img.VirtualSize})
	}
	return img, err
}

// near returns the images of the hosts that ref names.
func (h *Host) near(ref driver.ImageRef) map[string]bool {
	ids := map[string]bool{}
	for _, name := range ref.Near {
		if h.cfg.Neighbour == nil {
			break
		}
		if o := h.cfg.Neighbour(name); o != nil {
			o.mu.Lock()
			for id := range o.vol.images {
				ids[id] = true
			}
			o.mu.Unlock()
		}
	}
	return ids
}

// Build implements driver.Volumes.
func (v *Volumes) Build(ctx context.Context, id string, want []driver.Volume) (disks []driver.Disk, err error) {
	err = v.host.call(ctx, "Volumes.Build", id, func() error {
		for _, w := range want {
			m, err := v.host.build(id, w)
			if err != nil {
				return fmt.Errorf("fake: volume %s of %s: %w", w.Device, id, err)
			}
			disks = append(disks, m.disk)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return disks, nil
}

// build makes one volume, or finds it made; the Host's lock is held.
func (h *Host) build(id string, w driver.Volume) (made, error) {
	for _, m := range h.vol.instances[id] {
		if m.disk.Device == w.Device {
			return m, nil
		}
	}
	if w.Existing {
		return made{}, fmt.Errorf("%w: it was brought here, and is gone", driver.ErrInvalid)
	}
	if h.vol.full {
		return made{}, driver.ErrNoSpace
	}
	m := made{size: w.Size, image: w.Image, content: slices.Clone(w.Content)}
	m.disk = driver.Disk{
		Device: w.Device, Path: path.Join(h.dir(id), w.Device), Format: "qcow2", Bus: w.Bus,
		CDROM: w.CDROM, ReadOnly: w.CDROM || w.Content != nil, Serial: w.Serial,
	}
	if w.Image != "" {
		img, ok := h.vol.images[w.Image]
		switch {
		case !ok:
			return made{}, fmt.Errorf("image %s was not fetched: %w", w.Image, driver.ErrNotFound)
		case w.Size == 0 || w.CDROM:
			m.size = img.VirtualSize
		case w.Size < img.VirtualSize:
			return made{}, fmt.Errorf("%w: size %d is less than the image's %d", driver.ErrInvalid, w.Size, img.VirtualSize)
		}
	}
	if w.Content != nil || w.CDROM {
		m.disk.Format = "raw"
	}
	if w.Content != nil {
		m.size = int64(len(w.Content))
	}
	h.vol.instances[id] = append(h.vol.instances[id], m)
	return m, nil
}

// Bring puts a disk of size bytes where an instance has its volumes, as somebody does
// who brings it from elsewhere.
func (h *Host) Bring(id, device, bus string, size int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	disk := driver.Disk{Device: device, Path: path.Join(h.dir(id), device), Format: "qcow2", Bus: bus}
	h.vol.instances[id] = append(h.vol.instances[id], made{disk: disk, size: size})
}

// Dir implements driver.Volumes.
func (v *Volumes) Dir(id string) string { return v.host.dir(id) }

func (h *Host) dir(id string) string { return path.Join(h.cfg.Dir, "instances", id) }

// Remove implements driver.Volumes.
func (v *Volumes) Remove(ctx context.Context, id string) error {
	return v.host.call(ctx, "Volumes.Remove", id, func() error {
		delete(v.host.vol.instances, id)
		return nil
	})
}

// List implements driver.Volumes. It is sorted.
func (v *Volumes) List(ctx context.Context) (ids []string, err error) {
	err = v.host.call(ctx, "Volumes.List", "", func() error {
		ids = slices.Sorted(maps.Keys(v.host.vol.instances))
		return nil
	})
	return ids, err
}

// Space implements driver.Volumes. A volume occupies a tenth of its size.
func (v *Volumes) Space(ctx context.Context) (s driver.Space, err error) {
	h := v.host
	err = h.call(ctx, "Volumes.Space", "", func() error {
		s = driver.Space{Total: h.cfg.Disk}
		for _, all := range h.vol.instances {
			for _, m := range all {
				s.Promised += m.size
				s.Allocated += m.size / 10
			}
		}
		if !h.vol.full {
			s.Free = max(0, s.Total-s.Allocated)
		}
		return nil
	})
	return s, err
}

// Content returns the bytes of a volume that was built from Volume.Content.
func (h *Host) Content(id, device string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.vol.instances[id] {
		if m.disk.Device == device {
			return slices.Clone(m.content)
		}
	}
	return nil
}

// Copied returns how many images came from neighbours.
func (h *Host) Copied() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.vol.copied
}

// Fetches returns how many images were really downloaded.
func (h *Host) Fetches() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.vol.fetches
}
