package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// real is a client of a real cloud on a simulated host.
func real(t *testing.T) (*sftest.Cloud, *client.Client) {
	cloud := sftest.New(t)
	h := httptest.NewServer(converse(t, cloud.Cloud).server)
	t.Cleanup(h.Close)
	return cloud, dialClient(t, h.URL, "demo")
}

// Pages are the list, each record once and in its order.
func TestClientPages(t *testing.T) {
	cloud, cl := real(t)
	ctx := deadline(t)
	for i := range 5 {
		if _, err := cloud.CreateNetwork(ctx, "demo", spec.NetworkSpec{Name: fmt.Sprint("n", i), Netblock: "10.0.0.0/24"}); err != nil {
			t.Fatal(err)
		}
		vm, err := cl.Sync().CreateInstance(ctx, "", spec.InstanceSpec{Name: fmt.Sprint("vm", i), CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := cl.Sync().Snapshot(ctx, vm.UUID, false); err != nil {
			t.Fatal(err)
		}
	}
	paged(t, "instances", func(after string) ([]*spec.Instance, string, error) {
		return cl.InstancePage(ctx, client.Page{After: after, Limit: 2, Fields: []string{"uuid"}})
	}, func() ([]*spec.Instance, error) { return cl.Instances(ctx, false) }, func(i *spec.Instance) string { return i.UUID })
	paged(t, "networks", func(after string) ([]*spec.Network, string, error) {
		return cl.NetworkPage(ctx, client.Page{After: after, Limit: 2, All: true})
	}, func() ([]*spec.Network, error) { return cl.Networks(ctx, true) }, func(n *spec.Network) string { return n.UUID })
	paged(t, "snapshots", func(after string) ([]*spec.Snapshot, string, error) {
		return cl.SnapshotPage(ctx, client.Page{After: after, Limit: 2, All: true})
	}, func() ([]*spec.Snapshot, error) { return cl.Snapshots(ctx) }, func(s *spec.Snapshot) string { return s.UUID })

	list, next, err := cl.InstancePage(ctx, client.Page{Fields: []string{"name"}})
	if err != nil || next != "" || len(list) != 5 || list[0].Name == "" || list[0].UUID != "" {
		t.Errorf("names alone: %v, next %q, %v", list, next, err)
	}
	if _, _, err := cl.InstancePage(ctx, client.Page{Fields: []string{"colour"}}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("an unknown member: %v", err)
	}
}

func paged[T any](t *testing.T, what string, page func(after string) ([]T, string, error), all func() ([]T, error), id func(T) string) {
	t.Helper()
	whole, err := all()
	if err != nil || len(whole) != 5 {
		t.Fatalf("%s: %d, %v", what, len(whole), err)
	}
	var got []T
	var sizes []int
	for after := ""; ; {
		list, next, err := page(after)
		if err != nil {
			t.Fatal(what, err)
		}
		got, sizes = append(got, list...), append(sizes, len(list))
		if next == "" {
			break
		}
		after = next
	}
	if !slices.EqualFunc(got, whole, func(a, b T) bool { return id(a) == id(b) }) || !slices.Equal(sizes, []int{2, 2, 1}) {
		t.Errorf("%s: pages of %v have other records than the list", what, sizes)
	}
}

// What is bound to a version happens at that version or not at all.
func TestClientAtVersion(t *testing.T) {
	_, cl := real(t)
	ctx := deadline(t)
	vm, err := cl.Sync().CreateInstance(ctx, "", spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	stale := func(what string, err error) {
		t.Helper()
		if reply := (*client.Error)(nil); !errors.As(err, &reply) || reply.Status != http.StatusPreconditionFailed || !errors.Is(err, spec.ErrConflict) || reply.Request == "" {
			t.Errorf("%s at an old version: %v", what, err)
		}
	}
	off, err := cl.Sync().AtVersion(vm.Version).SetPower(ctx, vm.UUID, spec.PowerOff)
	if err != nil || off.Status.Power != spec.PowerOff {
		t.Fatalf("power off at the version: %v", err)
	}
	_, err = cl.AtVersion(vm.Version).SetPower(ctx, vm.UUID, spec.PowerOn)
	stale("power on", err)
	stale("delete", cl.AtVersion(vm.Version).DeleteInstance(ctx, vm.UUID))

	m, version, err := cl.MetadataVersion(ctx, spec.KindInstance, vm.UUID)
	if err != nil || len(m) != 0 || version == "" {
		t.Fatalf("metadata: %v at %q, %v", m, version, err)
	}
	if err := cl.AtVersion(version).SetMetadata(ctx, spec.KindInstance, vm.UUID, "a", "b"); err != nil {
		t.Error(err)
	}
	stale("metadata", cl.AtVersion(version).SetMetadata(ctx, spec.KindInstance, vm.UUID, "a", "c"))
	stale("deleting metadata", cl.AtVersion(version).DeleteMetadata(ctx, spec.KindInstance, vm.UUID, "a"))
	if m, err := cl.Metadata(ctx, spec.KindInstance, vm.UUID); err != nil || m["a"] != "b" {
		t.Errorf("metadata afterwards: %v, %v", m, err)
	}

	for what, err := range map[string]error{
		"float":       cl.AtVersion("1").Float(ctx, "x"),
		"cache image": cl.AtVersion("1").CacheImage(ctx, "cirros", func(client.Progress) {}),
	} {
		if err == nil || errors.Is(err, spec.ErrConflict) {
			t.Errorf("%s cannot be at a version: %v", what, err)
		}
	}
	now, err := cl.Instance(ctx, vm.UUID)
	if err == nil {
		err = cl.Sync().AtVersion(now.Version).DeleteInstance(ctx, vm.UUID)
	}
	if err != nil {
		t.Error("delete at the version:", err)
	}
}

// A server of 0.2 would do it whatever the version.
func TestClientAtVersionOf02(t *testing.T) {
	asked := 0
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth" {
			fmt.Fprintln(w, `{"access_token": "t"}`)
			return
		}
		asked++
		fmt.Fprintln(w, "null")
	}))
	defer h.Close()
	cl := dialClient(t, h.URL, "demo").AtVersion("1")
	if err := cl.DeleteInstance(t.Context(), "x"); !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), "checks no versions") || asked != 0 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	if _, _, err := cl.MetadataVersion(t.Context(), spec.KindInstance, "x"); err != nil || asked != 1 {
		t.Errorf("reading: %v", err)
	}
}
