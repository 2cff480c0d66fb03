package bolt

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/mvcc"
)

// file is the engine.Persister.
type file struct {
	db     *bbolt.DB
	broken bool // bbolt broke off in the middle, and may hold its locks
}

// Persist writes steps in one transaction of the file. Where bbolt panics, over pages
// that make no sense any more, that is an error, and the last write: whoever led the
// commit would take everybody else's with it.
func (f *file) Persist(steps []mvcc.Step) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f.broken = true
			err = fmt.Errorf("bolt: commit: %w: %w: %v; restore the file from a copy", store.ErrUnknownOutcome, ErrDamaged, p)
		}
	}()
	tx, err := f.db.Begin(true)
	if err != nil {
		return fmt.Errorf("bolt: begin: %w", err)
	}
	defer tx.Rollback() // after a commit this does nothing
	for _, step := range steps {
		if err := write(tx, step); err != nil {
			return fmt.Errorf("bolt: write revision %d: %w", step.After.Revision, err)
		}
	}
	last := steps[len(steps)-1].After
	newest := encodeState(last.Revision, last.LastSession)
	if err := tx.Bucket(bucketStore).Put(keyState, newest); err != nil {
		return fmt.Errorf("bolt: write revision %d: %w", last.Revision, err)
	}
	before := committed(f.db)
	if err := tx.Commit(); err != nil {
		tx.Rollback()
		return f.failed(before, err)
	}
	return nil
}

// failed tells whether a failed commit left the file as it was. Once the new state
// shows, only a restart can tell whether it also reached the disk.
func (f *file) failed(before []byte, err error) error {
	if before != nil && bytes.Equal(before, committed(f.db)) {
		return fmt.Errorf("bolt: commit: %w", err)
	}
	return fmt.Errorf("bolt: commit: %w: %w", store.ErrUnknownOutcome, err)
}

// committed is the encoded state that a reader of the file finds, nil when none can.
func committed(db *bbolt.DB) (state []byte) {
	_ = db.View(func(tx *bbolt.Tx) error {
		state = bytes.Clone(tx.Bucket(bucketStore).Get(keyState))
		return nil
	})
	return state
}

func (f *file) Close() error {
	if f.broken {
		return nil // it would wait for those locks; the process's end closes the file
	}
	return f.db.Close()
}

func write(tx *bbolt.Tx, step mvcc.Step) error {
	sessions := tx.Bucket(bucketSessions)
	if step.Opened.ID != 0 {
		if err := sessions.Put(encodeSession(step.Opened.ID, step.Opened.TTL)); err != nil {
			return err
		}
	}
	if step.Ended != 0 {
		if err := sessions.Delete(sessionKey(step.Ended)); err != nil {
			return err
		}
	}
	keys := tx.Bucket(bucketKeys)
	for _, ev := range step.Batch.Events {
		if ev.Deleted {
			if err := keys.Delete([]byte(ev.Key)); err != nil {
				return err
			}
		} else if err := keys.Put([]byte(ev.Key), encodeRecord(ev.Record)); err != nil {
			return err
		}
	}
	return nil
}

// load reads the file, after making it a store if it is new.
func load(db *bbolt.DB, now time.Time) (state mvcc.State, err error) {
	if err := initialise(db); err != nil {
		return state, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		state, err = read(tx, now)
		return err
	})
	return state, err
}

// initialise makes the buckets of a file that has none.
func initialise(db *bbolt.DB) error {
	fresh := false
	err := db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it is cut off after %d of %d bytes; restore it from a copy", ErrDamaged, info.Size(), tx.Size())
		}
		first, _ := tx.Cursor().First()
		fresh = first == nil
		return nil
	})
	if err != nil || !fresh {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketKeys, bucketSessions, bucketStore} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		b := tx.Bucket(bucketStore)
		if err := b.Put(keyFormat, []byte(format)); err != nil {
			return err
		}
		return b.Put(keyState, encodeState(0, 0))
	})
}

func read(tx *bbolt.Tx, now time.Time) (mvcc.State, error) {
	b, keys, open := tx.Bucket(bucketStore), tx.Bucket(bucketKeys), tx.Bucket(bucketSessions)
	if b == nil || keys == nil || open == nil {
		return mvcc.State{}, fmt.Errorf("%w: it is a bbolt file of something else", ErrNotStore)
	}
	if f := b.Get(keyFormat); string(f) != format {
		return mvcc.State{}, fmt.Errorf("%w: its format is %.40q, this program reads %q", ErrNotStore, f, format)
	}
	revision, last, err := decodeState(b.Get(keyState))
	if err != nil {
		return mvcc.State{}, fmt.Errorf("%w: its state: %w", ErrDamaged, err)
	}
	var sessions []mvcc.Session
	err = open.ForEach(func(k, v []byte) error {
		id, ttl, err := decodeSession(k, v)
		if err != nil {
			return fmt.Errorf("%w: session %x: %w", ErrDamaged, k, err)
		}
		sessions = append(sessions, mvcc.Session{ID: id, TTL: ttl})
		return nil
	})
	if err != nil {
		return mvcc.State{}, err
	}
	var records []store.Record
	err = keys.ForEach(func(k, v []byte) error {
		r, err := decodeRecord(k, v)
		if err != nil {
			return fmt.Errorf("%w: key %.80q: %w", ErrDamaged, k, err)
		}
		records = append(records, r)
		return nil
	})
	if err != nil {
		return mvcc.State{}, err
	}
	state, err := mvcc.Load(revision, last, sessions, records, now)
	if err != nil {
		return mvcc.State{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return state, nil
}
