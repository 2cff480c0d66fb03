// Package bolt is a store.Store in a file, for a cloud on one machine.
//
// All keys are also in memory: reads never touch the file and never wait for it.
// A commit returns when the file holds it through a sync; commits that arrive
// together share one. Sessions survive with their keys, and end their full time
// after the file was opened again unless renewed. History does not survive: a
// watch from before gets store.ErrCompacted.
//
// The file is a bbolt database, locked while it is open. To copy it, close the
// store first.
package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/engine"
)

var (
	// ErrInUse: another process, or another store of this one, has the file open.
	ErrInUse = errors.New("file is in use")
	// ErrNotStore: the file is something else, or of another version of this package.
	ErrNotStore = errors.New("not a store")
	// ErrDamaged: the file was a store, but can't be read as one any more.
	ErrDamaged = errors.New("store is damaged")
)

// Config of a store. Its zero value is good.
type Config struct {
	// LockTimeout is how long Open waits for another process to close the file,
	// rounded to 50 ms. 0 is three seconds.
	LockTimeout time.Duration
	// History is how many revisions are kept for watches and snapshots; older ones
	// are compacted by themselves. 0 is 10,000.
	History int
	// HistoryBytes bounds the same by the size of keys and values. 0 is 64 MiB.
	HistoryBytes int
	// Now is the clock that sessions live by; nil is time.Now. See memory.Config.
	Now func() time.Time
	// NoSync leaves it to the kernel when commits reach the disk. It is unsafe: a
	// crash of the machine loses commits, and may well damage the whole file. It is
	// for tests and benchmarks. A crash of the process alone loses nothing.
	NoSync bool
}

const defaultLockTimeout = 3 * time.Second

// Open opens the store at path, or creates it there with mode 0600, in a directory
// that exists. Its error is ErrInUse, ErrNotStore or ErrDamaged, or of the file system.
func Open(path string, c Config) (store.Store, error) {
	if c.LockTimeout <= 0 {
		c.LockTimeout = defaultLockTimeout
	}
	s, err := open(path, c, bbolt.Options{
		Timeout:      c.LockTimeout,
		FreelistType: bbolt.FreelistMapType,
		NoSync:       c.NoSync,
		NoGrowSync:   c.NoSync,
		NoStatistics: true,
	})
	if err != nil {
		return nil, fmt.Errorf("bolt: open %s: %w", path, err)
	}
	return s, nil
}

// open turns a fault of the file into an error: bbolt panics where pages make no
// sense, and the kernel where they are missing.
func open(path string, c Config, o bbolt.Options) (s store.Store, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var db *bbolt.DB
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("%w: %v; restore the file from a copy", ErrDamaged, p)
		}
		if err != nil && db != nil {
			db.Close()
		}
	}()
	_, statErr := os.Stat(path)
	if db, err = bbolt.Open(path, 0o600, &o); err != nil {
		return nil, explain(err, c.LockTimeout)
	}
	if errors.Is(statErr, fs.ErrNotExist) && !c.NoSync {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	state, err := load(db, now())
	if err != nil {
		return nil, err
	}
	return engine.New(state, engine.Config{
		Now: now, Revisions: c.History, Bytes: c.HistoryBytes, Persister: &file{db: db},
	}), nil
}

func explain(err error, timeout time.Duration) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: another sfd is using it and did not close it within %v: stop that one first", ErrInUse, timeout)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum):
		return fmt.Errorf("%w, or damaged beyond recognition (%w): is this the right file? If so, restore it from a copy", ErrNotStore, err)
	case errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w (%w)", ErrNotStore, err)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err // Open names the path
	}
	return err
}

// syncDir makes a new file's name durable. Windows has no such thing, and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
