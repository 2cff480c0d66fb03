package api

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// both is what a cloud in process and one over HTTP have in common.
type both interface {
	CreateNamespace(ctx context.Context, name string) error
	DeleteNamespace(ctx context.Context, name string) error
	SetKey(ctx context.Context, namespace, name, secret string) error
	DeleteKey(ctx context.Context, namespace, name string) error
	Metadata(ctx context.Context, kind spec.Kind, id string) (spec.Metadata, error)
	SetMetadata(ctx context.Context, kind spec.Kind, id, key string, value any) error
	DeleteMetadata(ctx context.Context, kind spec.Kind, id, key string) error
	Events(ctx context.Context, kind spec.Kind, id string) ([]*spec.Event, error)
	FollowEvents(ctx context.Context, opt spec.FollowOptions) iter.Seq2[*spec.EventBatch, error]
	Nodes(ctx context.Context) ([]*spec.Node, error)

	CreateNetwork(ctx context.Context, namespace string, s spec.NetworkSpec) (*spec.Network, error)
	Network(ctx context.Context, id string) (*spec.Network, error)
	DeleteNetwork(ctx context.Context, id string) error
	WaitNetwork(ctx context.Context, id string, cond func(*spec.Network) (bool, error)) (*spec.Network, error)
	NetworkInterfaces(ctx context.Context, id string) ([]*spec.Interface, error)
	Interface(ctx context.Context, id string) (*spec.Interface, error)

	CreateInstance(ctx context.Context, namespace string, s spec.InstanceSpec) (*spec.Instance, error)
	Instance(ctx context.Context, id string) (*spec.Instance, error)
	DeleteInstance(ctx context.Context, id string) error
	WaitInstance(ctx context.Context, id string, cond func(*spec.Instance) (bool, error)) (*spec.Instance, error)
	InstanceInterfaces(ctx context.Context, id string) ([]*spec.Interface, error)
	SetPower(ctx context.Context, id string, want spec.PowerState) (*spec.Instance, error)
	Reboot(ctx context.Context, id string, hard bool) (*spec.Operation, error)
	Operation(ctx context.Context, instance, id string) (*spec.Operation, error)
	Operations(ctx context.Context, instance string) ([]*spec.Operation, error)
	UserData(ctx context.Context, id string) ([]byte, error)
	ConsoleLog(ctx context.Context, id string, n int64) ([]byte, error)
}

var (
	_ both = (*sf.Cloud)(nil)
	_ both = (*client.Client)(nil)
)

// overHTTP serves a fake cloud and returns it with a client of a namespace.
func overHTTP(t *testing.T, namespace string) (*conversation, *fakeCloud, *client.Client) {
	c := newConversation(t)
	h := httptest.NewServer(c.server)
	t.Cleanup(h.Close)
	return c, c.server.cloud.(*fakeCloud), dialClient(t, h.URL, namespace)
}

// countedServer counts requests.
type countedServer struct {
	*httptest.Server
	requests atomic.Int32
}

func counted(t *testing.T, h http.Handler) *countedServer {
	s := &countedServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// Every class of error survives the way over HTTP, with its text and object.
func TestClassesOverHTTP(t *testing.T) {
	_, f, cl := overHTTP(t, "demo")
	for _, class := range spec.Classes {
		sent := spec.Errorf(class.Err, "insufficient capacity: not found: %s", class.Name).About("instance", "x")
		f.faults["Instances"] = sent
		_, err := cl.Instances(deadline(t), false)
		for _, other := range spec.Classes {
			if errors.Is(err, other.Err) != (other.Err == class.Err) {
				t.Errorf("%s arrives as %v", class.Name, err)
			}
		}
		got := (*spec.Error)(nil)
		if !errors.As(err, &got) || got.Text != sent.Text || got.Kind != "instance" || got.ID != "x" {
			t.Errorf("%s arrives as %#v", class.Name, got)
		}
	}
	f.faults["Instances"] = errors.New("unexpected")
	if _, err := cl.Instances(deadline(t), false); err == nil || spec.ClassOf(err) != nil {
		t.Errorf("an internal error arrives as %v", err)
	}
}

// Records arrive as they were.
func TestRecordsOverHTTP(t *testing.T) {
	_, f, cl := overHTTP(t, "demo")
	ctx := deadline(t)
	n, err := cl.CreateNetwork(ctx, "", spec.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", NAT: true})
	if err != nil {
		t.Fatal(err)
	}
	same(t, n, f.networks[n.UUID], cmpopts.IgnoreFields(spec.Network{}, "Version", "IdempotencyKey", "RouterMAC"))

	want := spec.InstanceSpec{Name: "vm", CPUs: 2, MemoryMiB: 512, SSHKey: "ssh-rsa A", UserData: []byte("#!/bin/sh\n\xff"), UEFI: true,
		Disks:      []spec.Disk{{SizeGB: 8, Base: "cirros", Bus: "ide", Type: "disk"}, {SizeGB: 2}},
		Interfaces: []spec.InterfaceSpec{{Network: n.UUID, Address: "10.0.0.7", MAC: "02:00:00:00:00:01", Model: "e1000"}},
		Video:      spec.Video{Model: "vga", MemoryKiB: 4096}, PlacedOn: "node1", Metadata: spec.Metadata{"a": "b"}}
	i, err := cl.CreateInstance(ctx, "demo", want)
	if err != nil {
		t.Fatal(err)
	}
	ignore := cmpopts.IgnoreFields(spec.Instance{}, "Version", "InstanceSpec.IdempotencyKey", "InstanceSpec.Interfaces", "InstanceSpec.Metadata")
	drive := cmpopts.IgnoreFields(spec.VolumeState{}, "Drive")
	same(t, i, f.instances[i.UUID], ignore, drive)
	if d := cmp.Diff(want.Interfaces, f.instances[i.UUID].Interfaces); d != "" {
		t.Error(d)
	}
	nics, err := cl.InstanceInterfaces(ctx, i.UUID)
	if err != nil || len(nics) != 1 {
		t.Fatal(nics, err)
	}
	same(t, nics[0], f.nics[nics[0].UUID])
	nic, err := cl.Interface(ctx, nics[0].UUID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, nic, f.nics[nic.UUID])
	events, err := cl.Events(ctx, spec.KindInstance, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	sent, _ := f.Events(ctx, spec.KindInstance, i.UUID)
	same(t, events, sent)

	f.hold = true
	if err := cl.DeleteInstance(ctx, i.UUID); err != nil {
		t.Fatal(err)
	}
	i, err = cl.Instance(ctx, i.UUID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, i, f.instances[i.UUID], ignore, drive)
	if i.Status.State != spec.StateDeleting {
		t.Errorf("it is %s", i.Status.State)
	}
}

func same(t *testing.T, got, want any, opts ...cmp.Option) {
	t.Helper()
	if d := cmp.Diff(want, got, append(opts, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty())...); d != "" {
		t.Errorf("%T (-sent +arrived):\n%s", got, d)
	}
}

// A token that is no good any more is replaced once, and the call made again.
func TestTokenIsRenewed(t *testing.T) {
	c, f, cl := overHTTP(t, "demo")
	ctx := deadline(t)
	if _, err := cl.Instances(ctx, false); err != nil {
		t.Fatal(err)
	}
	f.SetKey(ctx, "demo", "test", "secret-of-demo") // a new nonce
	if _, err := cl.Instances(ctx, false); err != nil {
		t.Errorf("after its key was set again: %v", err)
	}
	f.DeleteKey(ctx, "demo", "test")
	c.server.Sleep = func(context.Context, time.Duration) error { return nil }
	if _, err := cl.Instances(ctx, false); !errors.Is(err, spec.ErrUnauthorized) {
		t.Errorf("after its key was deleted: %v", err)
	}
}

// A create whose answer was lost is made again, and makes one instance; a delete
// is not made again.
func TestRepeats(t *testing.T) {
	c := newConversation(t)
	var requests, broken atomic.Int32
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth" {
			c.server.ServeHTTP(w, r)
			return
		}
		requests.Add(1)
		if broken.Add(-1) >= 0 {
			c.server.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler) // it was done, and the answer is lost
		}
		c.server.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	cl, err := client.New(client.Config{URL: h.URL, Namespace: "demo", Key: "secret-of-demo",
		HTTP:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t)
	broken.Store(2)
	i, err := cl.CreateInstance(ctx, "", spec.InstanceSpec{Name: "vm", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}}})
	if f := c.server.cloud.(*fakeCloud); err != nil || requests.Load() != 3 || len(f.instances) != 1 {
		t.Fatalf("%d requests made %d instances: %v", requests.Load(), len(f.instances), err)
	}
	requests.Store(0)
	broken.Store(1)
	if err := cl.DeleteInstance(ctx, i.UUID); !errors.Is(err, spec.ErrUnavailable) || requests.Load() != 1 {
		t.Errorf("a delete without an answer: %d requests, %v", requests.Load(), err)
	}
}

// The conditions for programs without package sf say what those of sf say.
func TestConditionsAgree(t *testing.T) {
	states := []spec.State{spec.StateInitial, spec.StateCreating, spec.StateCreated, spec.StateError, spec.StateDeleting, spec.StateDeleted}
	for _, state := range states {
		i := &spec.Instance{InstanceSpec: spec.InstanceSpec{Name: "vm"}, Status: spec.InstanceStatus{State: state, Error: "no", Generation: 2}}
		n := &spec.Network{NetworkSpec: spec.NetworkSpec{Name: "net"}, Status: spec.NetworkStatus{State: state, Error: "no"}}
		switch state {
		case spec.StateDeleted:
			i.Deletion = &spec.Deletion{Done: time.Unix(1, 0)}
		case spec.StateDeleting:
			i.Deletion = &spec.Deletion{}
		}
		n.Deletion = i.Deletion
		agree(t, state, i, sf.InstanceCreated, client.InstanceCreated)
		agree(t, state, i, sf.InstanceGone, client.InstanceGone)
		agree(t, state, i, sf.PowerSettled(2), client.PowerSettled(2))
		agree(t, state, i, sf.PowerSettled(3), client.PowerSettled(3))
		agree(t, state, n, sf.NetworkCreated, client.NetworkCreated)
		agree(t, state, n, sf.NetworkGone, client.NetworkGone)
	}
}

func agree[T any](t *testing.T, state spec.State, v T, a, b func(T) (bool, error)) {
	t.Helper()
	doneA, errA := a(v)
	doneB, errB := b(v)
	if doneA != doneB || spec.ClassOf(errA) != spec.ClassOf(errB) {
		t.Errorf("%s: sf says %v, %v; client says %v, %v", state, doneA, errA, doneB, errB)
	}
}
