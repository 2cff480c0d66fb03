package sf_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/faulty"
)

// leaving is a store that goes away with the n-th call from now on, at a commit after it
// has happened: its caller cannot know that.
type leaving struct{ calls, after atomic.Int64 }

func (l *leaving) decide(c faulty.Call) faulty.Fault {
	n, after := l.calls.Add(1), l.after.Load()
	switch {
	case after == 0 || n < after:
		return faulty.Fault{}
	case n == after && c.Op == faulty.Commit:
		return faulty.Fault{Effect: faulty.LoseReply}
	}
	return faulty.Fault{Effect: faulty.Refuse}
}

// goAway has the store go away with the n-th call; 0 has it stay.
func (l *leaving) goAway(n int64) { l.calls.Store(0); l.after.Store(n) }

// Whatever call meets a store that is away, and at whichever of its steps, says so in the
// class that makes clients try again, and where it may have recorded something that too.
func TestStoreAwayIsUnavailable(t *testing.T) {
	c := sftest.New(t)
	l := &leaving{}
	head, err := sf.Open(t.Context(), sf.Config{Store: faulty.New(c.Store, faulty.Config{Decide: l.decide})})
	if err != nil {
		t.Fatal(err)
	}
	unknown := 0
	for _, call := range callsOfAHead(t, c, head) {
		t.Run(call.name, func(t *testing.T) {
			met := int64(0)
			for n := int64(1); ; n++ {
				l.goAway(n)
				err := call.do(sftest.Context(t))
				reached := l.calls.Load() >= n
				l.goAway(0)
				if !reached {
					break
				}
				met++
				if err == nil {
					continue // it could do without
				}
				if class := spec.ClassOf(err); class != sf.ErrUnavailable {
					t.Errorf("at call %d: class %v: %v", n, class, err)
				}
				open := errors.Is(err, store.ErrUnknownOutcome)
				if open {
					unknown++
				}
				if said := strings.Contains(err.Error(), "whether the change was recorded is not known"); said != open {
					t.Errorf("at call %d: outcome unknown %v, but told %v: %v", n, open, said, err)
				}
			}
			if met == 0 {
				t.Error("it asks nothing of the store")
			}
		})
	}
	if unknown < 10 {
		t.Errorf("only %d commits were in doubt", unknown)
	}
}

// headCall is a call of a process that only serves.
type headCall struct {
	name string
	do   func(context.Context) error
}

// callsOfAHead are the calls that sf/api makes, on objects that are there.
func callsOfAHead(t *testing.T, c *sftest.Cloud, head *sf.Cloud) []headCall {
	ctx := sftest.Context(t)
	if err := c.CreateNamespace(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetKey(ctx, "demo", "k", "secret"); err != nil {
		t.Fatal(err)
	}
	n := newNetwork(t, c, "10.0.0.0/24")
	spare := newNetwork(t, c, "10.1.0.0/24")
	i := newInstance(t, c, small("one", sf.InterfaceSpec{Network: n.UUID}))
	doomed := newInstance(t, c, small("two"))
	id, nic := i.UUID, i.NICs[0].UUID
	snap, op, err := c.Snapshot(ctx, id, false)
	if err == nil {
		op, err = c.WaitOperation(ctx, op)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := sf.ListOptions{All: true}
	mine := sf.ListOptions{Namespace: sf.System, All: true}
	return []headCall{
		{"CreateNamespace", func(ctx context.Context) error { return head.CreateNamespace(ctx, "more") }},
		{"Namespace", func(ctx context.Context) error { return second(head.Namespace(ctx, "demo")) }},
		{"Namespaces", func(ctx context.Context) error { return second(head.Namespaces(ctx)) }},
		{"SetKey", func(ctx context.Context) error { return head.SetKey(ctx, "demo", "j", "secret") }},
		{"DeleteKey", func(ctx context.Context) error { return absent(head.DeleteKey(ctx, "demo", "j")) }},
		{"Authenticate", func(ctx context.Context) error { return second(head.Authenticate(ctx, "demo", "secret")) }},
		{"Secret", func(ctx context.Context) error { return second(head.Secret(ctx, "new")) }},
		{"DeleteNamespace", func(ctx context.Context) error { return head.DeleteNamespace(ctx, "more") }},
		{"Metadata", func(ctx context.Context) error { return second(head.Metadata(ctx, sf.KindInstance, id)) }},
		{"ChangeMetadata", func(ctx context.Context) error {
			return head.ChangeMetadata(ctx, sf.KindInstance, id, func(m sf.Metadata) error { m["a"] = "b"; return nil })
		}},
		{"Events", func(ctx context.Context) error { return second(head.Events(ctx, sf.KindInstance, id)) }},
		{"FollowEvents", func(ctx context.Context) error { return follow(ctx, c, head, id) }},
		{"Watch", func(ctx context.Context) error { return watch(ctx, c, head, id) }},
		{"CreateNetwork", func(ctx context.Context) error {
			return second(head.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "n", Netblock: "10.9.0.0/24", NAT: true}))
		}},
		{"Network", func(ctx context.Context) error { return second(head.Network(ctx, n.UUID)) }},
		{"Networks", func(ctx context.Context) error { return third(head.Networks(ctx, all)) }},
		{"NetworkInterfaces", func(ctx context.Context) error { return second(head.NetworkInterfaces(ctx, n.UUID)) }},
		{"PlaceInstance", func(ctx context.Context) error {
			return second(head.PlaceInstance(ctx, sf.System, small("p", sf.InterfaceSpec{Network: n.UUID})))
		}},
		{"CreateInstance", func(ctx context.Context) error {
			want := small("c", sf.InterfaceSpec{Network: n.UUID, Float: true})
			want.Disks = append(want.Disks, sf.Disk{SizeGB: 1, Base: "snapshot:" + snap.UUID})
			want.IdempotencyKey, want.Metadata = "once", sf.Metadata{"tags": []string{"a"}, "affinity": map[string]any{"a": 1}}
			return second(head.CreateInstance(ctx, sf.System, want))
		}},
		{"Instance", func(ctx context.Context) error { return second(head.Instance(ctx, id)) }},
		{"Instances", func(ctx context.Context) error { return third(head.Instances(ctx, all)) }},
		{"Instances of one", func(ctx context.Context) error { return third(head.Instances(ctx, mine)) }},
		{"WaitInstance", func(ctx context.Context) error { return waitForPower(ctx, c, head, id) }},
		{"InstanceInterfaces", func(ctx context.Context) error { return second(head.InstanceInterfaces(ctx, id)) }},
		{"Interface", func(ctx context.Context) error { return second(head.Interface(ctx, nic)) }},
		{"Float", func(ctx context.Context) error { return conflict(second(head.Float(ctx, nic, ""))) }},
		{"Defloat", func(ctx context.Context) error { return conflict(head.Defloat(ctx, nic)) }},
		{"UserData", func(ctx context.Context) error { return second(head.UserData(ctx, id)) }},
		{"SetPower", func(ctx context.Context) error { return second(head.SetPower(ctx, id, sf.PowerOn)) }},
		{"Reboot", func(ctx context.Context) error { return second(head.Reboot(ctx, id, true)) }},
		{"Operation", func(ctx context.Context) error { return second(head.Operation(ctx, id, op.ID)) }},
		{"Operations", func(ctx context.Context) error { return second(head.Operations(ctx, id)) }},
		{"WaitOperation", func(ctx context.Context) error { return second(head.WaitOperation(ctx, op)) }},
		{"Snapshot", func(ctx context.Context) error { return third(head.Snapshot(ctx, id, true)) }},
		{"SnapshotByID", func(ctx context.Context) error { return second(head.SnapshotByID(ctx, snap.UUID)) }},
		{"InstanceSnapshots", func(ctx context.Context) error { return second(head.InstanceSnapshots(ctx, id)) }},
		{"Snapshots", func(ctx context.Context) error { return second(head.Snapshots(ctx, sf.System)) }},
		{"DeleteSnapshot", func(ctx context.Context) error { return absent(head.DeleteSnapshot(ctx, snap.UUID)) }},
		{"WaitSnapshotGone", func(ctx context.Context) error { return head.WaitSnapshotGone(ctx, snap.UUID) }},
		{"Nodes", func(ctx context.Context) error { return second(head.Nodes(ctx)) }},
		{"Level", func(ctx context.Context) error { return second(head.Level(ctx)) }},
		{"NodeWork", func(ctx context.Context) error { return second(head.NodeWork(ctx, "node1", sf.KindInstance)) }},
		{"CordonNode", func(ctx context.Context) error { return head.CordonNode(ctx, "node1") }},
		{"UncordonNode", func(ctx context.Context) error { return head.UncordonNode(ctx, "node1") }},
		{"DrainNode", func(ctx context.Context) error {
			return second(head.DrainNode(ctx, "node1", sf.DrainOptions{Recover: true}))
		}},
		{"RecoverInstance", func(ctx context.Context) error { return conflict(second(head.RecoverInstance(ctx, id, true))) }},
		{"RemoveNode", func(ctx context.Context) error { return conflict(head.RemoveNode(ctx, "node1")) }},
		{"ForceDeleteInstance", func(ctx context.Context) error { return absent(head.ForceDeleteInstance(ctx, doomed.UUID)) }},
		{"DeleteInstance", func(ctx context.Context) error { return absent(head.DeleteInstance(ctx, id)) }},
		{"DeleteNetwork", func(ctx context.Context) error { return absent(head.DeleteNetwork(ctx, spare.UUID)) }},
	}
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

// absent is err unless an earlier try has done it.
func absent(err error) error { return but(err, sf.ErrNotFound) }

// conflict is err unless an earlier try has done it, or it cannot be.
func conflict(err error) error { return but(err, sf.ErrConflict) }

func but(err, class error) error {
	if spec.ClassOf(err) == class {
		return nil
	}
	return err
}

// follow takes what is there of an object's events, and one more.
func follow(ctx context.Context, c *sftest.Cloud, head *sf.Cloud, id string) error {
	batches := 0
	for _, err := range head.FollowEvents(ctx, sf.FollowOptions{Kind: sf.KindInstance, Object: id}) {
		if err != nil {
			return err
		}
		if batches++; batches == 2 {
			return nil
		}
		if _, err := c.SetPower(ctx, id, sf.PowerOn); err != nil {
			panic(err)
		}
	}
	return nil
}

// watch takes the first change.
func watch(ctx context.Context, c *sftest.Cloud, head *sf.Cloud, id string) error {
	changes := head.Watch(ctx, sf.KindInstance)
	if _, err := c.SetPower(ctx, id, sf.PowerOn); err != nil {
		panic(err)
	}
	for _, err := range changes {
		return err
	}
	return nil
}

// waitForPower waits for a wish that is made while it waits.
func waitForPower(ctx context.Context, c *sftest.Cloud, head *sf.Cloud, id string) error {
	looks, generation := 0, int64(0)
	_, err := head.WaitInstance(ctx, id, func(i *sf.Instance) (bool, error) {
		if looks++; looks == 2 {
			asked, err := c.SetPower(ctx, id, sf.PowerOn)
			if err != nil {
				panic(err)
			}
			generation = asked.Power.Generation
		}
		return looks > 2 && i.Status.Generation >= generation, nil
	})
	return err
}
