package memory_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// With a clock of its own a store does not wait: time passes when the test says so.
func ExampleNew() {
	ctx := context.Background()
	now := time.Unix(0, 0)
	s := memory.New(memory.Config{Now: func() time.Time { return now }})
	defer s.Close()

	alive, _ := s.Session(ctx, 10*time.Second)
	s.Commit(ctx, store.Txn{Do: []store.Op{store.PutIn(alive.ID(), "node/a", nil)}})
	w, _ := s.Watch(ctx, "node/", 1)
	poll, cancel := context.WithCancel(ctx)
	cancel()

	_, err := w.Next(poll)
	fmt.Println("nothing yet:", errors.Is(err, context.Canceled))
	now = now.Add(10 * time.Second)
	b, err := w.Next(poll)
	fmt.Println(b.Events[0].Key, "gone:", b.Events[0].Deleted, err)
	fmt.Println("over:", errors.Is(alive.Renew(ctx), store.ErrSessionExpired))
	// Output:
	// nothing yet: true
	// node/a gone: true <nil>
	// over: true
}
