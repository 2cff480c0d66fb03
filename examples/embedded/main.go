// Command embedded is a whole cloud inside a program, on fakes: no root, no
// network, no machine. Swap the three fakes for driver/qemu with sf/image,
// netfab/linux and store/bolt, and it is a real one (see examples/single).
package main

import (
	"context"
	"fmt"
	"os"

	hypervisor "github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store/memory"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	host := hypervisor.NewHost(hypervisor.Config{})
	cloud, err := sf.Open(ctx, sf.Config{Store: memory.New(memory.Config{}), Node: &sf.NodeConfig{
		Name: "node", Hypervisor: host.Hypervisor(), Volumes: host.Volumes(), Fabric: fabric.New(fabric.Config{Tag: "example"}),
	}})
	if err != nil {
		return err
	}
	defer cloud.Close()
	network, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
	if err != nil {
		return err
	}
	web, err := cloud.CreateInstance(ctx, sf.System, sf.InstanceSpec{
		Name: "web", CPUs: 1, MemoryMiB: 1024, Disks: []sf.Disk{{SizeGB: 8, Base: "debian"}},
		Interfaces: []sf.InterfaceSpec{{Network: network.UUID, Address: "10.0.0.5"}},
	})
	if err != nil {
		return err
	}
	if web, err = cloud.WaitInstance(ctx, web.UUID, sf.InstanceCreated); err != nil {
		return err
	}
	console, err := cloud.ConsoleLog(ctx, web.UUID, 11)
	fmt.Printf("%s is %s, its power is %s, its console says %q\n", web.Name, web.Status.State, web.Status.Power, console)
	return err
}
