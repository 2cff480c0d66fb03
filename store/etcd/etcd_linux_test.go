package etcd

import (
	"testing"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/storetest"
)

// The suite runs on every release of etcd, with and without a prefix.
func TestConformance(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) { conform(t, release, "") })
		t.Run(release+"/Prefix", func(t *testing.T) { conform(t, release, "/cloud/") })
	}
}

func conform(t *testing.T, release, prefix string) {
	t.Parallel() // it mostly waits for sessions to end
	v := start(t, release, "http")
	c := v.config()
	c.Prefix = prefix
	storetest.Run(t, storetest.Config{
		Open: func(t *testing.T) store.Store {
			v.wipe(t)
			return mustOpen(t, c)
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return mustOpen(t, c)
		},
	})
}
