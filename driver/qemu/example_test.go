package qemu_test

import (
	"context"
	"fmt"
	"log"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/qemu"
)

// A machine is defined once, and runs on when the program ends.
func ExampleNew() {
	ctx := context.Background()
	h, err := qemu.New(ctx, qemu.Config{Dir: "/var/lib/example/qemu"})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	err = h.Create(ctx, driver.Spec{
		ID: "0b7f0e9c-61b4-4b0e-a9a5-2f6f0b9d1c11", Name: "web",
		CPUs: 1, MemoryMiB: 512, Dir: "/var/lib/example/web",
		Disks: []driver.Disk{{Device: "vda", Path: "/var/lib/example/web/vda", Format: "qcow2", Bus: "virtio"}},
		Video: driver.Video{Model: "none"},
	})
	if err == nil {
		err = h.Start(ctx, "0b7f0e9c-61b4-4b0e-a9a5-2f6f0b9d1c11")
	}
	fmt.Println(err)
}
