package main

import (
	"testing"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/storetest"
)

// TestStore is all that a store of one's own needs.
func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Config{Open: func(t *testing.T) store.Store {
		s := NewLogStore()
		t.Cleanup(func() { s.Close() })
		return s
	}})
}

func Example() {
	main()
	// Output: web is created on a store of our own
}
