package memory_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/internal/modeltest"
	"github.com/shakenfist/cloud/store/memory"
)

func TestModel(t *testing.T) {
	modeltest.Run(t, modeltest.Config{
		Open: func(_ *rapid.T, now func() time.Time) store.Store { return memory.New(memory.Config{Now: now}) },
	})
}
