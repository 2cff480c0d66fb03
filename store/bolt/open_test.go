package bolt_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/bolt"
)

var background = context.Background()

// fill writes enough for a file with branch pages, and returns its path.
func fill(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	s := open(t, path, bolt.Config{NoSync: true})
	for i := range 64 {
		var ops []store.Op
		for j := range 32 {
			key := "k/" + string(rune('a'+i%26)) + strings.Repeat("x", i) + string(rune('a'+j))
			ops = append(ops, store.Put(key, make([]byte, 200)))
		}
		if _, err := s.Commit(background, store.Txn{Do: ops}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	first := open(t, path, bolt.Config{})
	_, err := bolt.Open(path, bolt.Config{LockTimeout: time.Millisecond})
	if !errors.Is(err, bolt.ErrInUse) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another sfd") {
		t.Fatalf("opened twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatalf("closed twice: %v", err)
	}
	open(t, path, bolt.Config{LockTimeout: time.Millisecond})
}

func TestMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes on Windows")
	}
	path := filepath.Join(t.TempDir(), "store")
	open(t, path, bolt.Config{})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("the file has mode %v", info.Mode())
	}
}

// Whatever is at the path, Open says what is wrong with it and does not touch it.
func TestOpenRefuses(t *testing.T) {
	write := func(b []byte) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "store")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	edit := func(fn func([]byte) []byte) func(*testing.T) string {
		return func(t *testing.T) string {
			b, err := os.ReadFile(fill(t))
			if err != nil {
				t.Fatal(err)
			}
			return write(fn(b))(t)
		}
	}
	bucket := func(fn func(tx *bbolt.Tx) error) func(*testing.T) string {
		return func(t *testing.T) string {
			path := fill(t)
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(fn); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	for _, c := range []struct {
		name string
		make func(*testing.T) string
		want error
	}{
		{"no directory", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none", "store") }, fs.ErrNotExist},
		{"directory", func(t *testing.T) string { return t.TempDir() }, nil},
		{"short text", write([]byte("hello\n")), bolt.ErrNotStore},
		{"long text", write([]byte(strings.Repeat("hello\n", 10_000))), bolt.ErrNotStore},
		{"zeroes", write(make([]byte, 65536)), bolt.ErrNotStore},
		{"other program's bbolt file", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "store")
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
			if err != nil {
				t.Fatal(err)
			}
			return path
		}, bolt.ErrNotStore},
		{"later format", bucket(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("store")).Put([]byte("format"), []byte("shakenfist store 2"))
		}), bolt.ErrNotStore},
		{"no state", bucket(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("store")).Delete([]byte("state")) }), bolt.ErrDamaged},
		{"bad record", bucket(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("keys")).Put([]byte("k"), []byte{0xff}) }), bolt.ErrDamaged},
		{"record of the future", bucket(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("keys")).Put([]byte("k"), []byte{0xff, 0x7f, 0})
		}), bolt.ErrDamaged},
		{"record of no session", bucket(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("keys")).Put([]byte("k"), []byte{1, 9, 'v'})
		}), bolt.ErrDamaged},
		{"bad session", bucket(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("sessions")).Put([]byte("x"), []byte{1})
		}), bolt.ErrDamaged},
		{"cut in half", edit(func(b []byte) []byte { return b[:len(b)/2/4096*4096] }), bolt.ErrDamaged},
		{"cut to its head", edit(func(b []byte) []byte { return b[:3*4096] }), bolt.ErrDamaged},
		{"both heads overwritten", edit(func(b []byte) []byte { clear(b[:8192]); return b }), bolt.ErrNotStore},
		{"pages overwritten", edit(func(b []byte) []byte {
			for i := 8192; i < len(b); i++ {
				b[i] = 0xa5
			}
			return b
		}), bolt.ErrDamaged},
		{"pages zeroed", edit(func(b []byte) []byte { clear(b[8192:]); return b }), bolt.ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			before, _ := os.ReadFile(path)
			s, err := bolt.Open(path, bolt.Config{LockTimeout: time.Millisecond})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("error is %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			t.Log(err)
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}
