package store_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// Claim an address together with the object that needs it, and see both arrive at once.
func Example() {
	ctx := context.Background()
	s := memory.New(memory.Config{})
	defer s.Close()
	w, err := s.Watch(ctx, "", 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()

	claim := func(nic string) error {
		_, err := s.Commit(ctx, store.Txn{
			If: []store.Cond{store.Absent("address/10.0.0.5")},
			Do: []store.Op{
				store.Put("address/10.0.0.5", []byte(nic)),
				store.Put("nic/"+nic, []byte("10.0.0.5")),
			},
		})
		return err
	}
	fmt.Println("first:", claim("a"))
	fmt.Println("second is a conflict:", errors.Is(claim("b"), store.ErrConflict))

	batch, err := w.Next(ctx)
	fmt.Println("revision", batch.Revision, err)
	for _, ev := range batch.Events {
		fmt.Printf("%s = %s\n", ev.Key, ev.Value)
	}
	// Output:
	// first: <nil>
	// second is a conflict: true
	// revision 1 <nil>
	// address/10.0.0.5 = a
	// nic/a = 10.0.0.5
}

// List page by page from one snapshot, then follow what changed since.
func ExampleStore() {
	ctx := context.Background()
	s := memory.New(memory.Config{})
	defer s.Close()
	for _, k := range []string{"n/1", "n/2", "n/3"} {
		s.Commit(ctx, store.Txn{Do: []store.Op{store.Put(k, nil)}})
	}
	page := store.Page{Limit: 2}
	for {
		l, err := s.List(ctx, "n/", page)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, r := range l.Records {
			fmt.Println(r.Key)
			page.After = r.Key
		}
		page.At = l.Revision
		if !l.More {
			break
		}
	}
	w, _ := s.Watch(ctx, "n/", page.At)
	defer w.Close()
	s.Commit(ctx, store.Txn{Do: []store.Op{store.Delete("n/2")}})
	b, err := w.Next(ctx)
	fmt.Println(b.Events[0].Key, "deleted:", b.Events[0].Deleted, err)
	// Output:
	// n/1
	// n/2
	// n/3
	// n/2 deleted: true <nil>
}
