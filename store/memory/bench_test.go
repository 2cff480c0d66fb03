package memory_test

import (
	"testing"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
	"github.com/shakenfist/cloud/store/storetest"
)

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(*testing.B) store.Store { return memory.New(memory.Config{}) })
}
