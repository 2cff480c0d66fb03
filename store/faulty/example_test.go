package faulty_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/faulty"
	"github.com/shakenfist/cloud/store/memory"
)

// The second commit happens, but its reply is lost.
func ExampleNew() {
	ctx := context.Background()
	s := faulty.New(memory.New(memory.Config{}), faulty.Config{
		Decide: faulty.Nth(2, faulty.Fault{Effect: faulty.LoseReply}, faulty.Commit),
	})
	defer s.Close()
	for _, k := range []string{"a", "b"} {
		_, err := s.Commit(ctx, store.Txn{Do: []store.Op{store.Put(k, nil)}})
		fmt.Println(k, "unknown:", errors.Is(err, store.ErrUnknownOutcome))
	}
	_, err := s.Get(ctx, "b")
	fmt.Println("b is there:", err == nil)
	// Output:
	// a unknown: false
	// b unknown: true
	// b is there: true
}
