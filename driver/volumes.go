package driver

import (
	"context"
	"io"
	"time"
)

// Volumes holds the disks of this host's instances and the images under them.
// Methods are safe for concurrent use and idempotent: after a crash at any point
// calling again completes the work.
type Volumes interface {
	// Fetch makes the image that ref names present on this host: resolved,
	// downloaded, verified, decompressed and inspected. Concurrent callers for one
	// image share one download. report (may be nil) is called with progress, not
	// more than a few times a second, from any goroutine.
	Fetch(ctx context.Context, ref ImageRef, report func(Progress)) (Image, error)
	// Build makes the volumes of one instance in a directory of its own and
	// returns them in the order given, ready for a Spec. A volume that exists
	// already is kept as it is: its content may be a guest's by now. An image that was
	// removed since it was fetched is ErrNotFound.
	Build(ctx context.Context, id string, volumes []Volume) ([]Disk, error)
	// Dir is the directory of one instance, for Spec.Dir; it may not exist yet.
	Dir(id string) string
	// Remove deletes the volumes of one instance; of one that has none is nil.
	Remove(ctx context.Context, id string) error
	// List returns the IDs of all instances that have volumes here.
	List(ctx context.Context) ([]string, error)
	// Space tells how much room there is.
	Space(ctx context.Context) (Space, error)
}

// ImageRef names an image and says on whose behalf it is fetched.
type ImageRef struct {
	Name string // a URL or a shorthand such as "cirros:0.5.1"
	// Trusted lifts the limit to public addresses: an administrator may fetch from
	// the host itself and its link, a tenant may not.
	Trusted bool
	// Near are hosts that are said to have the image, by name, those to ask first
	// first. What they have is as good as what the origin has at this moment, and
	// nearer; an implementation without a way to other hosts asks the origin for all.
	Near []string
}

// Progress of a fetch, in bytes. Total is 0 while unknown.
type Progress struct {
	Stage string // "resolving", "downloading", "verifying", "converting"
	Done  int64
	Total int64
}

// Image is an image in the host's cache.
type Image struct {
	ID          string // of its content: two names of the same bytes have the same ID
	Name        string // as resolved, usually a URL
	Format      string // "qcow2" or "raw"
	VirtualSize int64  // bytes, as the guest will see it
	CDROM       bool   // an ISO 9660 file system, to be attached as a CD-ROM
	Stale       bool   // the origin could not be asked; this is what was cached
}

// Volume is a disk to be made.
type Volume struct {
	Device  string // "vda": names the file, unique in the instance
	Bus     string
	Size    int64  // bytes; 0 takes the image's
	Image   string // Image.ID to lay it over; empty for a blank disk
	CDROM   bool   // the image itself, read-only
	Content []byte // a raw read-only volume with these bytes (the config drive)
	Serial  string
	// Existing says that somebody put the volume there: Image and Size do not count, and
	// where it is missing, Build fails with ErrInvalid instead of making another.
	Existing bool
}

// Space on the file system that holds the volumes, in bytes.
type Space struct {
	Total     int64
	Free      int64
	Promised  int64 // virtual sizes of all volumes here: what guests may still fill
	Allocated int64 // what those volumes occupy now
}

// Snapshots is an optional ability of Volumes: it keeps copies of disks beyond
// the life of their instance. A snapshot has a UUID and a file per device; it is
// not visible until it is complete.
type Snapshots interface {
	// SnapshotPath is where the copy of a device is to be put while the snapshot is
	// being made; its directory exists when SnapshotPath returns.
	SnapshotPath(ctx context.Context, snapshot, device string) (string, error)
	// CopyDisk copies a disk that no machine uses, flattened, to a path that
	// SnapshotPath gave.
	CopyDisk(ctx context.Context, disk Disk, path string, report func(Progress)) error
	// FinishSnapshot makes a snapshot whole and durable from what was put at its
	// paths. Finishing a finished one is nil.
	FinishSnapshot(ctx context.Context, snapshot string) ([]SnapshotFile, error)
	// OpenSnapshot opens a file of a finished snapshot; ErrNotFound else.
	OpenSnapshot(ctx context.Context, snapshot, device string) (SnapshotReader, error)
	// RemoveSnapshot removes a snapshot, finished or not; of none it is nil.
	// Instances that were made from it keep what they need of it.
	RemoveSnapshot(ctx context.Context, snapshot string) error
	// ListSnapshots returns all snapshots here, finished or not.
	ListSnapshots(ctx context.Context) ([]string, error)
}

// SnapshotFile is one file of a snapshot: a qcow2 that needs no other.
type SnapshotFile struct {
	Device      string
	Size        int64 // bytes of the file
	VirtualSize int64 // bytes, as a guest sees it
}

// SnapshotReader reads a snapshot's file.
type SnapshotReader interface {
	io.ReadSeekCloser
	Size() int64 // bytes
}

// Images is an optional ability of Volumes: it shows and tends the cache that
// Fetch fills.
type Images interface {
	// ListImages returns what is cached, the most recently used first.
	ListImages(ctx context.Context) ([]CachedImage, error)
	// RemoveImage removes an image from the cache by Image.ID; ErrState while a
	// volume is laid over it, ErrNotFound when it is not there.
	RemoveImage(ctx context.Context, id string) error
	// EvictImages removes images that no volume is laid over, least recently used
	// first, until so many bytes are free on the file system, and returns what it
	// removed.
	EvictImages(ctx context.Context, free int64) ([]CachedImage, error)
}

// CachedImage is an image in the cache.
type CachedImage struct {
	Image
	Names []string  // that it was fetched by
	Size  int64     // bytes it occupies
	Used  time.Time // when it was last fetched or laid under a volume
	Users int       // volumes laid over it
}
