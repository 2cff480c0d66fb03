package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/bolt"
	"github.com/shakenfist/cloud/store/storetest"
)

func BenchmarkStore(b *testing.B) {
	for name, c := range map[string]bolt.Config{"Sync": {}, "NoSync": {NoSync: true}} {
		b.Run(name, func(b *testing.B) {
			storetest.Bench(b, func(b *testing.B) store.Store {
				return open(b, filepath.Join(b.TempDir(), "store"), c)
			})
		})
	}
}
