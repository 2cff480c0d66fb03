package api

import (
	"context"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/fake"
	fabric "github.com/shakenfist/cloud/netfab/fake"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// The fake cloud has one node, which goes nowhere.

func (f *fakeCloud) PlaceInstance(context.Context, string, spec.InstanceSpec) (*sf.Placement, error) {
	return &sf.Placement{Nodes: []string{"sf-1"}, Refused: map[string]string{}}, nil
}

func (f *fakeCloud) RecoverInstance(ctx context.Context, id string, _ bool) (*spec.Instance, error) {
	return f.Instance(ctx, id)
}

func (f *fakeCloud) CordonNode(context.Context, string) error   { return nil }
func (f *fakeCloud) UncordonNode(context.Context, string) error { return nil }
func (f *fakeCloud) RemoveNode(context.Context, string) error   { return nil }

func (f *fakeCloud) DrainNode(context.Context, string, sf.DrainOptions) (*sf.Drained, error) {
	return &sf.Drained{Routers: []string{}, Recovered: []string{}, Remains: map[string]string{}}, nil
}

// wireCloud is the cloud that a conversation is held with: of one node, and for the
// one about nodes of another besides, which has gone and left an instance.
func wireCloud(t *testing.T, conversation string) cloud {
	c := sftest.New(t)
	if conversation != "nodes" {
		return c.Cloud
	}
	ctx := sftest.Context(t)
	if err := c.CreateNamespace(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	host := fake.NewHost(fake.Config{Now: time.Now})
	gone, err := sf.Open(ctx, sf.Config{Store: c.Store, Node: &sf.NodeConfig{
		Name: "node2", Hypervisor: host.Hypervisor(), Volumes: host.Volumes(),
		Fabric: fabric.New(fabric.Config{Host: fabric.NewHost(), Tag: "api/node2"}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	i, err := gone.CreateInstance(ctx, "demo", spec.InstanceSpec{Name: "vm1", CPUs: 1, MemoryMiB: 512, PlacedOn: "node2", Disks: []spec.Disk{{SizeGB: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.WaitInstance(ctx, i.UUID, sf.InstanceCreated); err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	return c.Cloud
}
