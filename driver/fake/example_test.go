package fake_test

import (
	"context"
	"fmt"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/fake"
)

// A machine boots, its guest ends itself, and a driver opened later knows it.
func ExampleNewHost() {
	ctx := context.Background()
	host := fake.NewHost(fake.Config{})
	h := host.Hypervisor()
	id := "0b7f0e9c-61b4-4b0e-a9a5-2f6f0b9d1c11"
	h.Create(ctx, driver.Spec{
		ID: id, Name: "web", CPUs: 1, MemoryMiB: 64, Dir: "/srv/web", Video: driver.Video{Model: "none"},
	})
	h.Start(ctx, id)
	host.Shutdown(id)
	h.Close()

	status, err := host.Hypervisor().Inspect(ctx, id)
	fmt.Println(status.State, status.Reason, err)
	// Output: stopped guest shut down <nil>
}

// The second Start of any machine fails.
func ExampleHost_Fault() {
	ctx := context.Background()
	host := fake.NewHost(fake.Config{})
	host.Fault(fake.Fault{Method: "Start", Nth: 2, Err: driver.ErrNoSpace})
	h := host.Hypervisor()
	id := "0b7f0e9c-61b4-4b0e-a9a5-2f6f0b9d1c11"
	h.Create(ctx, driver.Spec{
		ID: id, Name: "web", CPUs: 1, MemoryMiB: 64, Dir: "/srv/web", Video: driver.Video{Model: "none"},
	})
	fmt.Println(h.Start(ctx, id))
	fmt.Println(h.Start(ctx, id))
	// Output:
	// <nil>
	// driver: no space left
}
