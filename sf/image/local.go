package image

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// LocalConfig of Local volumes. Cache is required.
type LocalConfig struct {
	Cache *Cache
	// ClusterSize of new qcow2 volumes in bytes; 0 is 64 KiB.
	ClusterSize int64
	// Snapshots is the directory of snapshots, made when the first is; empty is
	// "snapshots" beside the volumes. On the file system of the Cache an image made
	// from a snapshot takes no room.
	Snapshots string
}

// Local is a driver.Volumes on a file system of this host:
//
//	<dir>/<uuid>/vda.qcow2   a disk: empty, or laid over an image of the cache
//	<dir>/<uuid>/vdb.raw     given content, such as a config drive
//	<dir>/<uuid>/hdc.cdrom   a symbolic link to an image that is attached as it is
//
// and, beside it, the snapshots, which are also images by the name of
// "snapshot:UUID/DEVICE":
//
//	<snapshots>/<uuid>/vda.qcow2      read-only; needs no other file
//	<snapshots>/<uuid>/snapshot.json  which files there are
//	<snapshots>/<uuid>.partial/       one being made
//	<snapshots>/<uuid>.gone/          one being removed
//
// Names of images in overlays and links are relative, so that a data directory
// that holds both may be moved. They are also the record of which images are in
// use; there is no other.
type Local struct {
	dir       string
	snapshots string
	config    LocalConfig
	busy      locks // by instance
	copying   locks // by snapshot
}

// locks are locks by name; a few names may share one.
type locks [64]sync.Mutex

func (l *locks) lock(name string) (unlock func()) {
	h := fnv.New32a()
	h.Write([]byte(name))
	m := &l[h.Sum32()%uint32(len(l))]
	m.Lock()
	return m.Unlock
}

var _ driver.Volumes = (*Local)(nil)

// NewLocal opens the volumes below dir, which is created if need be.
func NewLocal(dir string, c LocalConfig) (*Local, error) {
	if c.Cache == nil {
		return nil, errors.New("volumes: no image cache")
	}
	if err := (qcow2.Options{Size: sector, ClusterSize: c.ClusterSize}).Validate(); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	// Relative names must hold from where the directories really are.
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	snapshots := c.Snapshots
	if snapshots == "" {
		snapshots = filepath.Join(filepath.Dir(dir), "snapshots")
	}
	if snapshots, err = filepath.Abs(snapshots); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	return &Local{dir: dir, snapshots: snapshots, config: c}, nil
}

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	deviceForm = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)
	volumeFile = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}\.(qcow2|raw|cdrom)$`)
)

// Dir implements driver.Volumes. It is empty for what is not a UUID in lower
// case: such an ID has no directory.
func (l *Local) Dir(id string) string {
	if !uuidForm.MatchString(id) {
		return ""
	}
	return filepath.Join(l.dir, id)
}

// instance checks an ID and serialises what is done to its directory.
func (l *Local) instance(id string) (dir string, unlock func(), err error) {
	if dir = l.Dir(id); dir == "" {
		return "", nil, fmt.Errorf("%w: instance ID %.80q: use a UUID in lower case", driver.ErrInvalid, id)
	}
	return dir, l.busy.lock(id), nil
}

// Fetch implements driver.Volumes. When the disk is too full for the image it
// makes room by evicting others, once. "snapshot:UUID" and "snapshot:UUID/DEVICE"
// name a file of a finished snapshot here, by default its first.
func (l *Local) Fetch(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, error) {
	fetch := l.config.Cache.Fetch
	if strings.HasPrefix(ref.Name, snapshotScheme) {
		fetch = l.fetchSnapshot
	}
	image, err := fetch(ctx, ref, report)
	if !errors.Is(err, driver.ErrNoSpace) {
		return image, err
	}
	var space *spaceError
	need := int64(0)
	if errors.As(err, &space) {
		need = space.need
	}
	c := l.config.Cache
	if removed, everr := c.evict(ctx, c.over(need), l.referenced()); everr != nil || len(removed) == 0 {
		return image, errors.Join(err, everr)
	}
	return fetch(ctx, ref, report)
}

// Evict removes cached images that nothing here uses and wanted (may be nil)
// does not ask to keep, as Cache.Evict describes.
func (l *Local) Evict(ctx context.Context, wanted func(id string) bool) ([]Cached, error) {
	referenced := l.referenced()
	return l.config.Cache.Evict(ctx, func(id string) bool {
		return wanted != nil && wanted(id) || referenced(id)
	})
}

// referenced returns a predicate that reads which images are in use when first
// asked, which is while no new use can begin. What cannot be read counts as use
// of everything.
func (l *Local) referenced() func(id string) bool {
	var used map[string]bool
	var err error
	return func(id string) bool {
		if used == nil && err == nil {
			if used, err = l.References(); err != nil {
				l.config.Cache.config.Log.Warn("no image can be evicted while it is not known which are in use; delete or repair what is damaged", "err", err)
			}
		}
		return err != nil || used[id]
	}
}

// References returns the IDs of the images that volumes here lie over or are.
func (l *Local) References() (map[string]bool, error) {
	users, damaged, err := l.users()
	used := make(map[string]bool)
	for id := range users {
		used[id] = true
	}
	return used, errors.Join(damaged, err)
}

// users counts the volumes that lie over an image or are one, by its ID. damaged
// tells of those of which nobody can say what they need.
func (l *Local) users() (users map[string]int, damaged, err error) {
	users = make(map[string]int)
	err = l.each(func(path string, _ fs.FileInfo) error {
		base, err := reference(path)
		if m := imageFile.FindStringSubmatch(filepath.Base(base)); m != nil {
			users[m[1]]++
		}
		if !errors.Is(err, fs.ErrNotExist) { // it was just removed
			damaged = errors.Join(damaged, err)
		}
		return nil
	})
	return users, damaged, err
}

// reference is the name of the image that a volume needs, empty for none.
func reference(path string) (string, error) {
	switch filepath.Ext(path) {
	case ".cdrom":
		return os.Readlink(path)
	case ".qcow2":
		info, err := qcow2.InspectFile(path)
		return info.BackingFile, err
	}
	return "", nil
}

// each calls f for every volume.
func (l *Local) each(f func(path string, st fs.FileInfo) error) error {
	ids, err := l.List(context.Background())
	if err != nil {
		return err
	}
	for _, id := range ids {
		entries, err := os.ReadDir(filepath.Join(l.dir, id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !volumeFile.MatchString(e.Name()) {
				continue
			}
			st, err := e.Info()
			if err == nil {
				err = f(filepath.Join(l.dir, id, e.Name()), st)
			}
			// An instance may be removed while we look.
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Remove implements driver.Volumes: the whole directory of the instance goes.
func (l *Local) Remove(_ context.Context, id string) error {
	dir, unlock, err := l.instance(id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the volumes of %s: %w", id, err)
	}
	return nil
}

// List implements driver.Volumes.
func (l *Local) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && uuidForm.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Space implements driver.Volumes. A damaged disk counts as what it takes: its
// instance is in trouble, and nobody else.
func (l *Local) Space(context.Context) (driver.Space, error) {
	var s driver.Space
	err := l.each(func(path string, st fs.FileInfo) error {
		size := st.Size()
		switch filepath.Ext(path) {
		case ".cdrom":
			return nil
		case ".qcow2":
			if info, err := qcow2.InspectFile(path); err == nil {
				size = info.VirtualSize
			}
		}
		s.Promised += size
		s.Allocated += allocated(st)
		return nil
	})
	if err != nil {
		return driver.Space{}, err
	}
	s.Total, s.Free, err = fileSystem(l.dir)
	return s, err
}
