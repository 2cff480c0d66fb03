package bolt_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/bolt"
	"github.com/shakenfist/cloud/store/internal/modeltest"
)

func TestModel(t *testing.T) {
	dir, n, path := t.TempDir(), 0, ""
	open := func(t *rapid.T, now func() time.Time) store.Store {
		s, err := bolt.Open(path, bolt.Config{NoSync: true, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	modeltest.Run(t, modeltest.Config{
		Open: func(t *rapid.T, now func() time.Time) store.Store {
			n++
			path = filepath.Join(dir, strconv.Itoa(n))
			return open(t, now)
		},
		Reopen: func(t *rapid.T, s store.Store, now func() time.Time) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, now)
		},
	})
}
