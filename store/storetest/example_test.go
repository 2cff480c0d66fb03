package storetest_test

import (
	"testing"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
	"github.com/shakenfist/cloud/store/storetest"
)

// A test file of an implementation: all that it takes.
func ExampleRun() {
	TestMyStore := func(t *testing.T) {
		storetest.Run(t, storetest.Config{
			Open: func(t *testing.T) store.Store {
				s := memory.New(memory.Config{}) // yours
				t.Cleanup(func() { s.Close() })
				return s
			},
		})
	}
	_ = TestMyStore
}
