package bolt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/bolt"
)

// A store in a file finds its keys again.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, path := context.Background(), filepath.Join(dir, "cloud.db")

	s, err := bolt.Open(path, bolt.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := s.Commit(ctx, store.Txn{Do: []store.Op{store.Put("greeting", []byte("hello"))}})
	fmt.Println(r, err)
	s.Close()

	if s, err = bolt.Open(path, bolt.Config{}); err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	got, err := s.Get(ctx, "greeting")
	fmt.Printf("%s of revision %d, %v\n", got.Value, got.Revision, err)
	// Output:
	// 1 <nil>
	// hello of revision 1, <nil>
}
