package sf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/node"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

var update = flag.Bool("update", false, "write samples of records that have none")

// records are what the sorts of keys hold. A sort's sample in testdata/records was
// written by the version that brought it, and is never written again: whatever
// comes later must read it.
var records = map[string]any{
	"cloud": sf.Identity{}, "secret": sf.SharedSecret{}, "once": sf.Once{}, "cordon": sf.Cordoned{},
	"namespace": spec.Namespace{}, "metadata": spec.Metadata{}, "event": spec.Event{},
	"network": spec.Network{}, "network-status": spec.NetworkStatus{},
	"mesh-nic": spec.Interface{}, "mesh-router": spec.Router{}, "mesh-end": claims.Empty{},
	"instance": spec.Instance{}, "instance-status": spec.InstanceStatus{}, "user-data": nil,
	"operation": spec.Operation{}, "operation-status": spec.OperationStatus{},
	"snapshot": spec.Snapshot{}, "snapshot-status": spec.SnapshotStatus{}, "snapshot-index": claims.Empty{},
	"node": spec.Node{}, "node-used": spec.Capacity{}, "node-live": node.Live{}, "node-seen": claims.Seen{}, "node-joined": claims.Empty{}, "node-lost": claims.Lost{},
	"node-image": claims.Held{}, "image": claims.Held{},
	"address": claims.Address{}, "mac": claims.Owned{}, "vni": claims.Owned{}, "tag": claims.Placed{}, "interface-index": claims.Where{},
	"work": claims.Empty{}, "member": claims.Empty{}, "live": claims.Empty{}, "dead": claims.Empty{}, "expire": claims.Empty{},
}

// sortOf is the sort of a key.
func sortOf(key string) string {
	parts := strings.Split(strings.TrimPrefix(key, "sf/"), "/")
	if parts[0] == "mesh" && len(parts) > 2 {
		return "mesh-" + parts[2]
	}
	return parts[0]
}

func samplePath(sort string) string { return filepath.Join("testdata", "records", sort+".json") }

// Every sort of record that the code speaks of has a sample, and is in the table above.
func TestEveryRecordHasSample(t *testing.T) {
	if *update {
		writeSamples(t)
	}
	key := regexp.MustCompile(`Root ?\+ ?"([a-z-]+)|Prefix\([a-z]+\) \+ "([a-z]+)"`)
	sorts := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && d.Name() == "v02" {
			return fs.SkipDir // those are the original's
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range key.FindAllSubmatch(text, -1) {
			if m[1] != nil {
				sorts[string(m[1])] = true
			} else {
				sorts["mesh-"+string(m[2])] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(sorts, "mesh") // its parts are sorts
	delete(sorts, string(spec.KindInstance)+"-")
	for sort := range sorts {
		if _, ok := records[sort]; !ok {
			t.Errorf("the test's table does not say what a record %s is", sort)
		}
	}
	for sort := range records {
		if _, err := os.Stat(samplePath(sort)); err != nil {
			t.Errorf("a record %s has no sample (go test ./sf -run Sample -update): %v", sort, err)
		}
	}
	if len(sorts) < 30 {
		t.Errorf("only %d sorts of records were found in the code", len(sorts))
	}
}

// A stored record of any earlier version is read to its last member, and would be
// written again with the same values.
func TestStoredSamples(t *testing.T) {
	files, err := filepath.Glob(samplePath("*"))
	if err != nil || len(files) < len(records) {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, file := range files {
		sort := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(sort, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var sample struct{ Value json.RawMessage }
			if err := json.Unmarshal(text, &sample); err != nil {
				t.Fatal(err)
			}
			kind, ok := records[sort]
			switch {
			case !ok:
				t.Fatal("there is a sample of records that the code does not know any more: it has to read them")
			case kind == nil:
				return // no JSON
			}
			read := reflect.New(reflect.TypeOf(kind))
			if err := json.Unmarshal(sample.Value, read.Interface()); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(read.Interface())
			if err != nil {
				t.Fatal(err)
			}
			var was, is any
			if err := errors.Join(json.Unmarshal(sample.Value, &was), json.Unmarshal(again, &is)); err != nil {
				t.Fatal(err)
			}
			for _, mark := range []string{"~commit", "~born"} {
				delete(was.(map[string]any), mark)
				delete(is.(map[string]any), mark) // of free JSON
			}
			if diff := cmp.Diff(was, common(was, is)); diff != "" {
				t.Errorf("what was written is read as something else (-written +read):\n%s", diff)
			}
		})
	}
}

// The cloud's level is that of the oldest version of a node that lives.
func TestLevel(t *testing.T) {
	c := sftest.New(t)
	ctx := sftest.Context(t)
	want := func(want int) {
		t.Helper()
		if got, err := c.Level(ctx); err != nil || got != want {
			t.Errorf("level %d, %v; want %d", got, err, want)
		}
	}
	want(spec.Level)
	old := []byte(`{"name": "old", "version": "0.0.1"}`)
	put := func(op store.Op) {
		t.Helper()
		if _, err := c.Store.Commit(ctx, store.Txn{Do: []store.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	put(store.Put("sf/node/old", old))
	want(spec.Level)
	put(store.Put("sf/node-live/old", []byte(`{}`)))
	want(0)
	put(store.Delete("sf/node-live/old"))
	want(spec.Level)
}

// common is is without the members that was has not: later versions may add some.
func common(was, is any) any {
	switch w := was.(type) {
	case map[string]any:
		i, ok := is.(map[string]any)
		if !ok {
			return is
		}
		both := map[string]any{}
		for name := range w {
			if v, ok := i[name]; ok {
				both[name] = common(w[name], v)
			}
		}
		return both
	case []any:
		i, ok := is.([]any)
		if !ok || len(i) != len(w) {
			return is
		}
		all := make([]any, len(w))
		for k := range w {
			all[k] = common(w[k], i[k])
		}
		return all
	}
	return is
}

// collector keeps of every sort of record the longest that was written.
type collector struct {
	store.Store
	longest map[string]store.Op
}

func (c *collector) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	for _, op := range txn.Do {
		if op.Kind == store.OpPut && len(op.Value) > len(c.longest[sortOf(op.Key)].Value) {
			c.longest[sortOf(op.Key)] = op
		}
	}
	return c.Store.Commit(ctx, txn)
}

// writeSamples lets a simulated cloud write every sort of record, and keeps the
// samples that are missing.
func writeSamples(t *testing.T) {
	c := &collector{longest: map[string]store.Op{}}
	err := sftest.Simulate(sftest.SimConfig{Seed: 1, Nodes: 2}, func(s *sftest.Sim) error {
		c.Store = s.Store
		s.Store = c
		return everything(s)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(samplePath("")), 0o755); err != nil {
		t.Fatal(err)
	}
	for sort, op := range c.longest {
		if _, err := os.Stat(samplePath(sort)); err == nil {
			continue
		}
		value := op.Value
		if !json.Valid(value) {
			value, _ = json.Marshal(string(value))
		}
		var text bytes.Buffer
		if err := json.Indent(&text, fmt.Appendf(nil, `{"key": %q, "value": %s}`, op.Key, value), "", "\t"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(samplePath(sort), append(text.Bytes(), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// everything uses all that leaves a record.
func everything(s *sftest.Sim) error {
	ctx := s.Context(time.Hour)
	for _, n := range s.Nodes {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	c := s.Nodes[0].Cloud
	var network *sf.Network
	var one, two *sf.Instance
	var snap *sf.Snapshot
	create := func(name, on string) (*sf.Instance, error) {
		i, err := c.CreateInstance(ctx, "tenant", sf.InstanceSpec{
			Name: name, CPUs: 1, MemoryMiB: 64, PlacedOn: on, SSHKey: "ssh-ed25519 AAAA", UserData: []byte("#!/bin/sh\n"), IdempotencyKey: name,
			Disks:      []sf.Disk{{SizeGB: 2, Base: "http://images/a", Bus: "virtio", Type: "disk"}, {SizeGB: 1}},
			Interfaces: []sf.InterfaceSpec{{Network: network.UUID, Address: "10.0.0.9", MAC: "02:00:00:00:00:09", Model: "virtio", Float: true}},
			Video:      sf.Video{Model: "cirrus", MemoryKiB: 16384},
			Metadata:   sf.Metadata{"tags": []any{"web"}, "k": "v"},
		})
		if err == nil {
			i, err = c.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
		}
		return i, err
	}
	for _, step := range []func() error{
		func() error { return c.CreateNamespace(ctx, "tenant") },
		func() error { return c.SetKey(ctx, "tenant", "key", "secret") },
		func() error { _, err := c.Secret(ctx, "tokens"); return err },
		func() (err error) {
			network, err = c.CreateNetwork(ctx, "tenant", sf.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", DHCP: true, NAT: true})
			return err
		},
		func() (err error) { one, err = create("one", "node1"); return err },
		func() (err error) {
			snap, _, err = c.Snapshot(ctx, one.UUID, true)
			return err
		},
		func() error { s.Sleep(30 * time.Second); return nil },
		func() error { return c.DeleteSnapshot(ctx, snap.UUID) },
		func() error {
			op, err := c.Reboot(ctx, one.UUID, false)
			if err == nil {
				_, err = c.WaitOperation(ctx, op)
			}
			return err
		},
		func() error { return c.DeleteInstance(ctx, one.UUID) },
		func() error { _, err := c.WaitInstance(ctx, one.UUID, sf.InstanceGone); return err },
		func() (err error) { two, err = create("two", "node2"); return err },
		func() error { return c.CordonNode(ctx, "node2") },
		func() error { s.Sleep(2 * time.Minute); s.Nodes[1].Kill(); s.Sleep(time.Minute); return nil },
		func() error { return c.ForceDeleteInstance(ctx, two.UUID) },
		func() error { return c.RemoveNode(ctx, "node2") },
		func() error { return c.DeleteNetwork(ctx, network.UUID) },
		func() error { _, err := c.WaitNetwork(ctx, network.UUID, sf.NetworkGone); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
