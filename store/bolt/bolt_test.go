package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/bolt"
	"github.com/shakenfist/cloud/store/storetest"
)

func open(t testing.TB, path string, c bolt.Config) store.Store {
	t.Helper()
	s, err := bolt.Open(path, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	var path string
	storetest.Run(t, storetest.Config{
		Open: func(t *testing.T) store.Store {
			path = filepath.Join(t.TempDir(), "store")
			return open(t, path, bolt.Config{})
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, path, bolt.Config{})
		},
	})
}
