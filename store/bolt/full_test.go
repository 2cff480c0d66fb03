package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/shakenfist/cloud/store"
)

// When the file can't grow any more, a commit fails, surely, and leaves nothing
// behind; reads go on, and so do commits once something was deleted.
func TestFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	options := bbolt.Options{NoSync: true, MaxSize: 1 << 20, FreelistType: bbolt.FreelistMapType, Timeout: time.Second}
	s, err := open(path, Config{}, options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	ctx := t.Context()
	var n int
	for n = 0; ; n++ {
		_, err := s.Commit(ctx, store.Txn{Do: []store.Op{store.Put(fmt.Sprint("k", n), make([]byte, 32<<10))}})
		if err != nil {
			if !errors.Is(err, berrors.ErrMaxSizeReached) || errors.Is(err, store.ErrUnknownOutcome) {
				t.Fatalf("full: %v", err)
			}
			break
		}
	}
	if n == 0 {
		t.Fatal("nothing fitted")
	}
	check := func(want int) {
		t.Helper()
		l, err := s.List(ctx, "", store.Page{})
		if err != nil || len(l.Records) != want {
			t.Fatalf("%d keys, want %d, %v", len(l.Records), want, err)
		}
	}
	check(n)
	if _, err := s.Commit(ctx, store.Txn{Do: []store.Op{store.DeletePrefix("k")}}); err != nil {
		t.Fatalf("no room to make room: %v", err)
	}
	if _, err := s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("new", make([]byte, 32<<10))}}); err != nil {
		t.Fatal(err)
	}
	check(1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = open(path, Config{}, options); err != nil {
		t.Fatal(err)
	}
	check(1)
}

// A failed commit is certain only while the file shows the state of before.
func TestFailedCommit(t *testing.T) {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "store"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := load(db, time.Now()); err != nil {
		t.Fatal(err)
	}
	f := &file{db: db}
	before := committed(db)
	if err := f.failed(before, io.ErrShortWrite); errors.Is(err, store.ErrUnknownOutcome) || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("the state is as before: %v", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketStore).Put(keyState, encodeState(1, 0)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := f.failed(before, io.ErrShortWrite); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("the state shows: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.failed(before, io.ErrShortWrite); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("the state can't be read: %v", err)
	}
}

// A file that is damaged while it is open fails commits, and nothing else: reads go on,
// nobody waits, and what happened is said.
func TestDamagedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string) error {
		_, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{store.Put(key, []byte("v"))}})
		return err
	}
	if err := put("a"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 30<<10), 8192); err != nil {
		t.Fatal(err)
	}
	if err := put("b"); !errors.Is(err, ErrDamaged) || !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("%v", err)
	}
	if err := put("c"); err == nil || !strings.Contains(err.Error(), ErrDamaged.Error()) {
		t.Errorf("%v", err)
	}
	if r, err := s.Get(t.Context(), "a"); err != nil || string(r.Value) != "v" {
		t.Errorf("%q, %v", r.Value, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
