package sf_test

import (
	"context"
	"fmt"
	"log"

	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store/memory"
)

// A cloud in a process, on a simulated host.
func Example() {
	ctx := context.Background()
	host := fake.NewHost(fake.Config{})
	cloud, err := sf.Open(ctx, sf.Config{
		Store: memory.New(memory.Config{}),
		Node: &sf.NodeConfig{
			Name: "here", Hypervisor: host.Hypervisor(), Volumes: host.Volumes(), Fabric: fabric.New(fabric.Config{}),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cloud.Close()

	network, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
	if err != nil {
		log.Fatal(err)
	}
	instance, err := cloud.CreateInstance(ctx, sf.System, sf.InstanceSpec{
		Name: "web", CPUs: 1, MemoryMiB: 512,
		Disks:      []sf.Disk{{SizeGB: 8, Base: "debian:12"}},
		Interfaces: []sf.InterfaceSpec{{Network: network.UUID, Address: "10.0.0.80"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	instance, err = cloud.WaitInstance(ctx, instance.UUID, sf.InstanceCreated)
	if err != nil {
		log.Fatal(err)
	}
	nics, err := cloud.InstanceInterfaces(ctx, instance.UUID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(instance.Name, instance.Status.State, instance.Status.Power, nics[0].Address)
	// Output: web created on 10.0.0.80
}

// An API head: no node, only calls.
func ExampleOpen() {
	ctx := context.Background()
	cloud, err := sf.Open(ctx, sf.Config{Store: memory.New(memory.Config{})})
	if err != nil {
		log.Fatal(err)
	}
	defer cloud.Close()
	_, err = cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Netblock: "10.0.0.0/24"})
	fmt.Println(err)
	// Output: insufficient capacity: no node is running that could route the network
}
