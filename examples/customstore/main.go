// Command customstore shows how to bring a store of one's own: a store.Store of
// some 300 lines that keeps everything in a log in memory, and a cloud on it. Its
// test is the whole proof that it keeps the contract: package storetest.
//
// There is nothing to admire in its speed; see store/bolt for the one to use.
package main

import (
	"context"
	"fmt"
	"os"

	hypervisor "github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s := NewLogStore()
	defer s.Close()
	host := hypervisor.NewHost(hypervisor.Config{})
	cloud, err := sf.Open(ctx, sf.Config{Store: s, Node: &sf.NodeConfig{
		Name: "node", Hypervisor: host.Hypervisor(), Volumes: host.Volumes(), Fabric: fabric.New(fabric.Config{Tag: "example"}),
	}})
	if err != nil {
		return err
	}
	defer cloud.Close()
	i, err := cloud.CreateInstance(ctx, sf.System, sf.InstanceSpec{
		Name: "web", CPUs: 1, MemoryMiB: 512, Disks: []sf.Disk{{SizeGB: 8, Base: "cirros"}},
	})
	if err != nil {
		return err
	}
	if i, err = cloud.WaitInstance(ctx, i.UUID, sf.InstanceCreated); err != nil {
		return err
	}
	fmt.Printf("%s is %s on a store of our own\n", i.Name, i.Status.State)
	return nil
}
