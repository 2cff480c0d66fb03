package qcow2_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/sf/image/qcow2"
)

func ExampleCreate() {
	dir, err := os.MkdirTemp("", "qcow2-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "base.raw"), make([]byte, 1<<20), 0o600); err != nil {
		log.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.qcow2")
	if err := qcow2.Create(disk, qcow2.Options{Size: 8 << 30, BackingFile: "base.raw", BackingFormat: "raw"}); err != nil {
		log.Fatal(err)
	}
	layers, err := qcow2.Chain(disk)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range layers {
		fmt.Println(filepath.Base(l.Path), l.Format)
	}
	// Output:
	// disk.qcow2 qcow2
	// base.raw raw
}
