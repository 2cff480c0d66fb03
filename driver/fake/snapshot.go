package fake

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/shakenfist/cloud/driver"
)

var (
	_ driver.Snapshotter = (*Hypervisor)(nil)
	_ driver.Snapshots   = (*Volumes)(nil)
	_ driver.Images      = (*Volumes)(nil)
)

// snapshot is a set of copies on the host's disk.
type snapshot struct {
	devices  []string
	finished bool
}

// job is a copy that a machine's process is making. It goes with the process.
type job struct {
	boot    int64
	targets []driver.SnapshotTarget
	asked   int // how often SnapshotJob has looked
}

// jobLooks is how many looks a copy takes to end.
const jobLooks = 3

// copied is the size of a disk in a job, in bytes.
const copied = 1 << 20

// Snapshot implements driver.Snapshotter.
func (v *Hypervisor) Snapshot(ctx context.Context, id, name string, targets []driver.SnapshotTarget) error {
	h := v.host
	return h.call(ctx, "Snapshot", id, func() error {
		m := h.machines[id]
		switch {
		case m == nil:
			return fmt.Errorf("fake: machine %s: %w", id, driver.ErrNotFound)
		case !m.status.State.On():
			return wrongState(m, "snapshot")
		case h.job(m, name) != nil:
			return nil
		}
		for _, t := range targets {
			if !slices.ContainsFunc(m.spec.Disks, func(d driver.Disk) bool { return d.Device == t.Device }) {
				return fmt.Errorf("fake: machine %s has no disk %s: %w", id, t.Device, driver.ErrInvalid)
			}
		}
		if m.jobs == nil {
			m.jobs = map[string]*job{}
		}
		m.jobs[name] = &job{boot: m.status.Boot, targets: slices.Clone(targets)}
		return nil
	})
}

// job finds a job of the machine's present process.
func (h *Host) job(m *machine, name string) *job {
	j := m.jobs[name]
	if j == nil || j.boot != m.status.Boot || !m.status.State.On() {
		return nil
	}
	return j
}

// SnapshotJob implements driver.Snapshotter. A job ends at the third look.
func (v *Hypervisor) SnapshotJob(ctx context.Context, id, name string) (s driver.JobStatus, err error) {
	h := v.host
	err = h.call(ctx, "SnapshotJob", id, func() error {
		m := h.machines[id]
		if m == nil || h.job(m, name) == nil {
			return fmt.Errorf("fake: machine %s, job %s: %w", id, name, driver.ErrNotFound)
		}
		j := m.jobs[name]
		j.asked = min(j.asked+1, jobLooks)
		s.Total = int64(len(j.targets)) * copied
		s.Done = s.Total * int64(j.asked) / jobLooks
		if s.Ended = j.asked == jobLooks; !s.Ended {
			return nil
		}
		if h.vol.full {
			s.Err = driver.ErrNoSpace
			return nil
		}
		for _, t := range j.targets {
			h.vol.copies[t.Path] = true
		}
		return nil
	})
	return s, err
}

// EndSnapshot implements driver.Snapshotter.
func (v *Hypervisor) EndSnapshot(ctx context.Context, id, name string) error {
	return v.host.call(ctx, "EndSnapshot", id, func() error {
		if m := v.host.machines[id]; m != nil {
			delete(m.jobs, name)
		}
		return nil
	})
}

func (h *Host) copyPath(snapshot, device string) string {
	return path.Join(h.cfg.Dir, "snapshots", snapshot, device+".qcow2")
}

// SnapshotPath implements driver.Snapshots.
func (v *Volumes) SnapshotPath(ctx context.Context, id, device string) (p string, err error) {
	h := v.host
	err = h.call(ctx, "Volumes.SnapshotPath", id, func() error {
		s := h.vol.snapshots[id]
		if s == nil {
			s = &snapshot{}
			h.vol.snapshots[id] = s
		}
		if !slices.Contains(s.devices, device) {
			s.devices = append(s.devices, device)
		}
		p = h.copyPath(id, device)
		return nil
	})
	return p, err
}

// CopyDisk implements driver.Snapshots.
func (v *Volumes) CopyDisk(ctx context.Context, disk driver.Disk, path string, _ func(driver.Progress)) error {
	h := v.host
	return h.call(ctx, "Volumes.CopyDisk", path, func() error {
		if h.vol.full {
			return fmt.Errorf("fake: copy %s: %w", disk.Path, driver.ErrNoSpace)
		}
		h.vol.copies[path] = true
		return nil
	})
}

// FinishSnapshot implements driver.Snapshots.
func (v *Volumes) FinishSnapshot(ctx context.Context, id string) (files []driver.SnapshotFile, err error) {
	h := v.host
	err = h.call(ctx, "Volumes.FinishSnapshot", id, func() error {
		s := h.vol.snapshots[id]
		if s == nil {
			return fmt.Errorf("fake: snapshot %s: %w", id, driver.ErrNotFound)
		}
		for _, device := range s.devices {
			if !h.vol.copies[h.copyPath(id, device)] {
				return fmt.Errorf("fake: snapshot %s has no whole copy of %s", id, device)
			}
			files = append(files, driver.SnapshotFile{Device: device, Size: copied, VirtualSize: 1 << 30})
		}
		s.finished = true
		return nil
	})
	return files, err
}

// OpenSnapshot implements driver.Snapshots. The file says which it is.
func (v *Volumes) OpenSnapshot(ctx context.Context, id, device string) (r driver.SnapshotReader, err error) {
	h := v.host
	err = h.call(ctx, "Volumes.OpenSnapshot", id, func() error {
		if s := h.vol.snapshots[id]; s == nil || !s.finished || !slices.Contains(s.devices, device) {
			return fmt.Errorf("fake: snapshot %s of %s: %w", id, device, driver.ErrNotFound)
		}
		r = reader{bytes.NewReader([]byte("snapshot " + id + " of " + device))}
		return nil
	})
	return r, err
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// RemoveSnapshot implements driver.Snapshots.
func (v *Volumes) RemoveSnapshot(ctx context.Context, id string) error {
	h := v.host
	return h.call(ctx, "Volumes.RemoveSnapshot", id, func() error {
		if s := h.vol.snapshots[id]; s != nil {
			for _, device := range s.devices {
				delete(h.vol.copies, h.copyPath(id, device))
			}
		}
		delete(h.vol.snapshots, id)
		return nil
	})
}

// ListSnapshots implements driver.Snapshots. It is sorted.
func (v *Volumes) ListSnapshots(ctx context.Context) (ids []string, err error) {
	err = v.host.call(ctx, "Volumes.ListSnapshots", "", func() error {
		ids = slices.Sorted(maps.Keys(v.host.vol.snapshots))
		return nil
	})
	return ids, err
}

// ListImages implements driver.Images, sorted by ID.
func (v *Volumes) ListImages(ctx context.Context) (all []driver.CachedImage, err error) {
	h := v.host
	err = h.call(ctx, "Volumes.ListImages", "", func() error {
		for _, id := range slices.Sorted(maps.Keys(h.vol.images)) {
			img := h.vol.images[id]
			all = append(all, driver.CachedImage{
				Image: img, Names: []string{img.Name}, Size: img.VirtualSize / 10, Used: h.cfg.Now(), Users: h.users(id),
			})
		}
		return nil
	})
	return all, err
}

func (h *Host) users(image string) (n int) {
	for _, volumes := range h.vol.instances {
		for _, m := range volumes {
			if m.image == image {
				n++
			}
		}
	}
	return n
}

// RemoveImage implements driver.Images.
func (v *Volumes) RemoveImage(ctx context.Context, id string) error {
	h := v.host
	return h.call(ctx, "Volumes.RemoveImage", id, func() error {
		if _, ok := h.vol.images[id]; !ok {
			return fmt.Errorf("fake: image %s: %w", id, driver.ErrNotFound)
		}
		if n := h.users(id); n > 0 {
			return fmt.Errorf("fake: image %s is used by %d volumes: %w", id, n, driver.ErrState)
		}
		delete(h.vol.images, id)
		return nil
	})
}

// EvictImages implements driver.Images: a full disk evicts all that can go.
func (v *Volumes) EvictImages(ctx context.Context, free int64) (gone []driver.CachedImage, err error) {
	h := v.host
	err = h.call(ctx, "Volumes.EvictImages", "", func() error {
		if !h.vol.full {
			return nil
		}
		for _, id := range slices.Sorted(maps.Keys(h.vol.images)) {
			if h.users(id) == 0 {
				gone = append(gone, driver.CachedImage{Image: h.vol.images[id]})
				delete(h.vol.images, id)
			}
		}
		return nil
	})
	return gone, err
}
