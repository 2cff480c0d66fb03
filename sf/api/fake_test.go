package api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

// fakeCloud is a cloud in which everything happens at once, for tests of what
// the API does with errors, slowness and time. What it does with a real cloud is
// tested with one.
type fakeCloud struct {
	mu         sync.Mutex
	now        time.Time
	serial     int
	namespaces map[string]*spec.Namespace
	networks   map[string]*spec.Network
	instances  map[string]*spec.Instance
	nics       map[string]*spec.Interface
	userData   map[string][]byte
	metadata   map[string]spec.Metadata
	once       map[string]string
	operations []*spec.Operation
	snapshots  []*spec.Snapshot
	content    []byte // of every disk in snapshots

	hold    bool                      // what is created stays creating, what is deleted deleting
	broken  string                    // error of instances created from now on
	faults  map[string]error          // by name of the method
	port    func() io.ReadWriteCloser // of every console and screen
	changed *sync.Cond
}

func newFake() *fakeCloud {
	f := &fakeCloud{
		now:        time.Unix(1601091234, 560000000).UTC(),
		namespaces: map[string]*spec.Namespace{}, networks: map[string]*spec.Network{},
		instances: map[string]*spec.Instance{}, nics: map[string]*spec.Interface{},
		userData: map[string][]byte{}, metadata: map[string]spec.Metadata{}, once: map[string]string{},
		faults: map[string]error{}, content: []byte("a disk of bytes"),
	}
	f.changed = sync.NewCond(&f.mu)
	f.networks[spec.FloatingNetwork] = &spec.Network{UUID: spec.FloatingNetwork, Version: "1",
		NetworkSpec: spec.NetworkSpec{Name: "floating", Netblock: "192.168.20.0/24"},
		Status:      spec.NetworkStatus{State: spec.StateInitial}}
	f.CreateNamespace(context.Background(), spec.System)
	return f
}

// enter locks and returns the fault that was planned for a method.
func (f *fakeCloud) enter(method string) error {
	f.mu.Lock()
	return f.faults[method]
}

func (f *fakeCloud) uuid() string {
	f.serial++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", f.serial)
}

func missing(kind spec.Kind, id string) error {
	return spec.Errorf(spec.ErrNotFound, "%s not found", kind).About(string(kind), id)
}

func (f *fakeCloud) CreateNamespace(ctx context.Context, name string) error {
	err := f.enter("CreateNamespace")
	defer f.mu.Unlock()
	if err == nil && f.namespaces[name] == nil {
		f.namespaces[name] = &spec.Namespace{Name: name, Created: f.now}
	}
	return err
}

func (f *fakeCloud) Namespace(ctx context.Context, name string) (*spec.Namespace, error) {
	err := f.enter("Namespace")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if ns := f.namespaces[name]; ns != nil {
		copied := *ns
		copied.Keys = slices.Clone(ns.Keys)
		return &copied, nil
	}
	return nil, missing(spec.KindNamespace, name)
}

func (f *fakeCloud) Namespaces(context.Context) ([]*spec.Namespace, error) {
	err := f.enter("Namespaces")
	defer f.mu.Unlock()
	var all []*spec.Namespace
	for _, ns := range f.namespaces {
		all = append(all, ns)
	}
	slices.SortFunc(all, func(a, b *spec.Namespace) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

func (f *fakeCloud) DeleteNamespace(ctx context.Context, name string) error {
	err := f.enter("DeleteNamespace")
	defer f.mu.Unlock()
	for _, i := range f.instances {
		if i.Namespace == name && !i.Deletion.Gone() {
			return spec.Errorf(spec.ErrInUse, "you cannot delete a namespace with instances")
		}
	}
	for _, n := range f.networks {
		if n.Namespace == name && !n.Deletion.Gone() {
			return spec.Errorf(spec.ErrInUse, "you cannot delete a namespace with networks")
		}
	}
	delete(f.namespaces, name)
	return err
}

func (f *fakeCloud) SetKey(ctx context.Context, namespace, name, secret string) error {
	err := f.enter("SetKey")
	defer f.mu.Unlock()
	ns := f.namespaces[namespace]
	if err != nil || ns == nil {
		return cmp.Or(err, error(missing(spec.KindNamespace, namespace)))
	}
	ns.Keys = slices.DeleteFunc(ns.Keys, func(k spec.Key) bool { return k.Name == name })
	ns.Keys = append(ns.Keys, spec.Key{Name: name, Hash: []byte(secret), Nonce: f.uuid()})
	return nil
}

func (f *fakeCloud) DeleteKey(ctx context.Context, namespace, name string) error {
	err := f.enter("DeleteKey")
	defer f.mu.Unlock()
	ns := f.namespaces[namespace]
	ns.Keys = slices.DeleteFunc(ns.Keys, func(k spec.Key) bool { return k.Name == name })
	return err
}

func (f *fakeCloud) Authenticate(ctx context.Context, namespace, secret string) (*spec.Key, error) {
	err := f.enter("Authenticate")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if ns := f.namespaces[namespace]; ns != nil {
		for _, k := range ns.Keys {
			if string(k.Hash) == secret {
				return &k, nil
			}
		}
	}
	return nil, spec.Errorf(spec.ErrUnauthorized, "unauthorized")
}

func (f *fakeCloud) Metadata(ctx context.Context, kind spec.Kind, id string) (spec.Metadata, error) {
	err := f.enter("Metadata")
	defer f.mu.Unlock()
	m := spec.Metadata{}
	for k, v := range f.metadata[string(kind)+id] {
		m[k] = v
	}
	return m, err
}

func (f *fakeCloud) SetMetadata(ctx context.Context, kind spec.Kind, id, key string, value any) error {
	err := f.enter("SetMetadata")
	defer f.mu.Unlock()
	if f.metadata[string(kind)+id] == nil {
		f.metadata[string(kind)+id] = spec.Metadata{}
	}
	f.metadata[string(kind)+id][key] = value
	return err
}

func (f *fakeCloud) ChangeMetadata(ctx context.Context, kind spec.Kind, id string, change func(spec.Metadata) error) error {
	err := f.enter("ChangeMetadata")
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	if f.metadata[string(kind)+id] == nil {
		f.metadata[string(kind)+id] = spec.Metadata{}
	}
	return change(f.metadata[string(kind)+id])
}

func (f *fakeCloud) Events(ctx context.Context, kind spec.Kind, id string) ([]*spec.Event, error) {
	err := f.enter("Events")
	defer f.mu.Unlock()
	return []*spec.Event{
		{Time: f.now, Kind: kind, Object: id, Node: "node1", Operation: "schedule", Phase: "finish", Duration: 170 * time.Millisecond},
		{Time: f.now, Kind: kind, Object: id, Node: "node1", Operation: "trigger", Message: "login prompt", Count: 2, Last: f.now.Add(time.Second)},
	}, err
}

func (f *fakeCloud) FollowEvents(ctx context.Context, opt sf.FollowOptions) iter.Seq2[*sf.EventBatch, error] {
	return func(yield func(*sf.EventBatch, error) bool) {
		err := f.enter("FollowEvents")
		f.mu.Unlock()
		if err == nil && opt.After < 0 && !yield(&sf.EventBatch{Position: 7}, nil) {
			return
		}
		if err == nil {
			<-ctx.Done()
			err = ctx.Err()
		}
		yield(nil, err)
	}
}

func (f *fakeCloud) CreateNetwork(ctx context.Context, namespace string, s spec.NetworkSpec) (*spec.Network, error) {
	err := f.enter("CreateNetwork")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n := &spec.Network{UUID: f.uuid(), Namespace: namespace, Created: f.now, NetworkSpec: s, VNI: 7, Version: "1", Node: "node1"}
	if s.NAT {
		n.Gateway = netip.MustParseAddr("192.168.20.77")
	}
	n.Status = spec.NetworkStatus{State: spec.StateCreated, Since: f.now}
	if f.hold {
		n.Status.State = spec.StateCreating
		n.Status.Wait = &spec.Wait{Reason: "a bridge", Since: f.now}
	}
	f.networks[n.UUID] = n
	copied := *n
	return &copied, nil
}

func (f *fakeCloud) Network(ctx context.Context, id string) (*spec.Network, error) {
	err := f.enter("Network")
	defer f.mu.Unlock()
	if n := f.networks[id]; n != nil && err == nil {
		copied := *n
		return &copied, nil
	}
	return nil, cmp.Or(err, error(missing(spec.KindNetwork, id)))
}

func shown(opts sf.ListOptions, namespace string, s spec.State) bool {
	return (opts.Namespace == "" || opts.Namespace == namespace) && (opts.All || s != spec.StateDeleted && s != spec.StateError)
}

func (f *fakeCloud) Networks(ctx context.Context, opts sf.ListOptions) ([]*spec.Network, string, error) {
	err := f.enter("Networks")
	defer f.mu.Unlock()
	var all []*spec.Network
	for _, n := range f.networks {
		if shown(opts, n.Namespace, n.Status.State) {
			copied := *n
			all = append(all, &copied)
		}
	}
	slices.SortFunc(all, func(a, b *spec.Network) int { return strings.Compare(a.UUID, b.UUID) })
	return all, "", err
}

func (f *fakeCloud) DeleteNetwork(ctx context.Context, id string) error {
	err := f.enter("DeleteNetwork")
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	for _, nic := range f.nics {
		if nic.Network == id && nic.State != spec.StateDeleted {
			return spec.Errorf(spec.ErrInUse, "network %s is in use", id)
		}
	}
	n := f.networks[id]
	n.Deletion = &spec.Deletion{Requested: f.now}
	n.Status.State = spec.StateDeleting
	if !f.hold {
		n.Deletion.Done = f.now
		n.Status.State = spec.StateDeleted
	}
	return nil
}

// wait calls look until it says that the waiting is over.
func (f *fakeCloud) wait(ctx context.Context, look func() (bool, error)) error {
	stop := context.AfterFunc(ctx, f.changed.Broadcast)
	defer stop()
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting: %w", ctx.Err())
		}
		f.changed.Wait()
	}
}

func (f *fakeCloud) WaitNetwork(ctx context.Context, id string, cond func(*spec.Network) (bool, error)) (*spec.Network, error) {
	err := f.enter("WaitNetwork")
	defer f.mu.Unlock()
	if err == nil {
		err = f.wait(ctx, func() (bool, error) { return cond(f.networks[id]) })
	}
	copied := *f.networks[id]
	return &copied, err
}

func (f *fakeCloud) nicsWhere(match func(*spec.Interface) bool) []*spec.Interface {
	var all []*spec.Interface
	for _, nic := range f.nics {
		if match(nic) {
			all = append(all, nic)
		}
	}
	slices.SortFunc(all, func(a, b *spec.Interface) int { return a.Order - b.Order })
	return all
}

func (f *fakeCloud) NetworkInterfaces(ctx context.Context, id string) ([]*spec.Interface, error) {
	err := f.enter("NetworkInterfaces")
	defer f.mu.Unlock()
	return f.nicsWhere(func(n *spec.Interface) bool { return n.Network == id }), err
}

func (f *fakeCloud) CreateInstance(ctx context.Context, namespace string, s spec.InstanceSpec) (*spec.Instance, error) {
	err := f.enter("CreateInstance")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if s.PlacedOn != "" && s.PlacedOn != "node1" {
		return nil, spec.Errorf(spec.ErrNotFound, "node not found: %s", s.PlacedOn)
	}
	if id := f.once[s.IdempotencyKey]; id != "" {
		copied := *f.instances[id]
		return &copied, nil
	}
	i := &spec.Instance{UUID: f.uuid(), Namespace: namespace, Created: f.now, InstanceSpec: s, Node: "node1",
		Version: "1", Power: spec.Power{Want: spec.PowerOn, Generation: 1}, UserDataSize: len(s.UserData)}
	for order, want := range s.Interfaces {
		n := f.networks[want.Network]
		if n == nil || n.Namespace != namespace {
			return nil, spec.Errorf(spec.ErrNotFound, "network %s not found", want.Network)
		}
		nic := &spec.Interface{UUID: f.uuid(), Network: n.UUID, Instance: i.UUID, Namespace: namespace, Order: order,
			MAC: want.MAC, Address: netip.MustParseAddr("10.0.0.9"), Model: want.Model, State: spec.StateCreated, Since: f.now}
		if want.Address != "" {
			nic.Address = netip.MustParseAddr(want.Address)
		}
		if nic.MAC == "" {
			nic.MAC = "02:00:00:a8:58:f9"
		}
		if nic.Model == "" {
			nic.Model = "virtio"
		}
		f.nics[nic.UUID] = nic
	}
	f.userData[i.UUID] = s.UserData
	f.metadata["instance"+i.UUID] = s.Metadata
	i.Status = spec.InstanceStatus{State: spec.StateCreated, Since: f.now, Power: spec.PowerOn, PowerBefore: spec.PowerInitial,
		PowerSince: f.now, Generation: 1, Boot: 1, Volumes: []spec.VolumeState{
			{Device: "vda", Bus: "virtio", Type: "qcow2", Size: 8 << 30, Path: "/var/lib/sf/vda.qcow2", Base: s.Disks[0].Base},
			{Device: "vdb", Bus: "virtio", Type: "raw", Path: "/var/lib/sf/vdb.raw", Drive: true},
		}}
	if f.hold {
		i.Status = spec.InstanceStatus{State: spec.StateCreating, Since: f.now, Power: spec.PowerInitial,
			Wait: &spec.Wait{Reason: "downloading cirros", Since: f.now, Done: 5, Total: 10}}
	}
	if f.broken != "" {
		i.Status.State, i.Status.Error = spec.StateError, f.broken
	}
	f.instances[i.UUID] = i
	if s.IdempotencyKey != "" {
		f.once[s.IdempotencyKey] = i.UUID
	}
	copied := *i
	return &copied, nil
}

func (f *fakeCloud) Instance(ctx context.Context, id string) (*spec.Instance, error) {
	err := f.enter("Instance")
	defer f.mu.Unlock()
	if i := f.instances[id]; i != nil && err == nil {
		copied := *i
		return &copied, nil
	}
	return nil, cmp.Or(err, error(missing(spec.KindInstance, id)))
}

func (f *fakeCloud) Instances(ctx context.Context, opts sf.ListOptions) ([]*spec.Instance, string, error) {
	err := f.enter("Instances")
	defer f.mu.Unlock()
	var all []*spec.Instance
	for _, i := range f.instances {
		if shown(opts, i.Namespace, i.Status.State) && i.UUID > opts.After {
			copied := *i
			all = append(all, &copied)
		}
	}
	slices.SortFunc(all, func(a, b *spec.Instance) int { return strings.Compare(a.UUID, b.UUID) })
	if opts.Limit > 0 && len(all) > opts.Limit {
		return all[:opts.Limit], all[opts.Limit-1].UUID, err
	}
	return all, "", err
}

func (f *fakeCloud) DeleteInstance(ctx context.Context, id string) error {
	err := f.enter("DeleteInstance")
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	i := f.instances[id]
	i.Deletion = &spec.Deletion{Requested: f.now}
	i.Status.State = spec.StateDeleting
	i.Version += "d"
	if !f.hold {
		i.Deletion.Done = f.now
		i.Status.State, i.Status.Power = spec.StateDeleted, spec.PowerOff
		for _, nic := range f.nics {
			if nic.Instance == id {
				nic.State = spec.StateDeleted
			}
		}
	}
	return nil
}

func (f *fakeCloud) WaitInstance(ctx context.Context, id string, cond func(*spec.Instance) (bool, error)) (*spec.Instance, error) {
	err := f.enter("WaitInstance")
	defer f.mu.Unlock()
	if err == nil {
		err = f.wait(ctx, func() (bool, error) { return cond(f.instances[id]) })
	}
	copied := *f.instances[id]
	return &copied, err
}

func (f *fakeCloud) InstanceInterfaces(ctx context.Context, id string) ([]*spec.Interface, error) {
	err := f.enter("InstanceInterfaces")
	defer f.mu.Unlock()
	return f.nicsWhere(func(n *spec.Interface) bool { return n.Instance == id }), err
}

func (f *fakeCloud) Interface(ctx context.Context, id string) (*spec.Interface, error) {
	err := f.enter("Interface")
	defer f.mu.Unlock()
	if nic := f.nics[id]; nic != nil && err == nil {
		return nic, nil
	}
	return nil, cmp.Or(err, error(missing(spec.KindInterface, id)))
}

func (f *fakeCloud) Float(ctx context.Context, id, asked string) (netip.Addr, error) {
	err := f.enter("Float")
	defer f.mu.Unlock()
	if err == nil && f.nics[id].Floating.IsValid() {
		err = spec.Errorf(spec.ErrConflict, "this interface already has a floating ip")
	}
	if err == nil {
		f.nics[id].Floating = netip.MustParseAddr("192.168.20.7")
	}
	return f.nics[id].Floating, err
}

func (f *fakeCloud) Defloat(ctx context.Context, id string) error {
	err := f.enter("Defloat")
	defer f.mu.Unlock()
	if err == nil {
		f.nics[id].Floating = netip.Addr{}
	}
	return err
}

func (f *fakeCloud) UserData(ctx context.Context, id string) ([]byte, error) {
	err := f.enter("UserData")
	defer f.mu.Unlock()
	return f.userData[id], err
}

func (f *fakeCloud) SetPower(ctx context.Context, id string, want spec.PowerState) (*spec.Instance, error) {
	err := f.enter("SetPower")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	i := f.instances[id]
	i.Power = spec.Power{Want: want, Generation: i.Power.Generation + 1}
	i.Version += "p"
	if !f.hold {
		i.Status.PowerBefore, i.Status.Power, i.Status.Generation = i.Status.Power, want, i.Power.Generation
	}
	copied := *i
	return &copied, nil
}

// operate is an operation that has ended, or is held.
func (f *fakeCloud) operate(id string, kind spec.OperationKind) *spec.Operation {
	f.serial++
	op := &spec.Operation{ID: fmt.Sprintf("op%d", f.serial), Instance: id, Namespace: f.instances[id].Namespace, Kind: kind,
		Created: f.now, Deadline: f.now.Add(2 * time.Minute), Status: spec.OperationStatus{State: spec.OperationDone, Since: f.now}}
	switch {
	case f.hold:
		op.Status = spec.OperationStatus{State: spec.OperationStarted, Since: f.now, Done: 1, Total: 3}
	case f.broken != "":
		op.Status.State, op.Status.Error = spec.OperationFailed, f.broken
	}
	f.operations = append(f.operations, op)
	return op
}

func (f *fakeCloud) Reboot(ctx context.Context, id string, hard bool) (*spec.Operation, error) {
	err := f.enter("Reboot")
	defer f.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case hard:
		return f.operate(id, spec.OpReset), nil
	}
	return f.operate(id, spec.OpReboot), nil
}

func (f *fakeCloud) Operation(ctx context.Context, instance, id string) (*spec.Operation, error) {
	err := f.enter("Operation")
	defer f.mu.Unlock()
	for _, op := range f.operations {
		if op.ID == id && op.Instance == instance && err == nil {
			copied := *op
			return &copied, nil
		}
	}
	return nil, cmp.Or(err, error(missing(spec.KindOperation, id)))
}

func (f *fakeCloud) Operations(ctx context.Context, instance string) (ops []*spec.Operation, err error) {
	err = f.enter("Operations")
	defer f.mu.Unlock()
	for _, op := range f.operations {
		if op.Instance == instance {
			ops = append(ops, op)
		}
	}
	return ops, err
}

func (f *fakeCloud) WaitOperation(ctx context.Context, op *spec.Operation) (*spec.Operation, error) {
	err := f.enter("WaitOperation")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var now *spec.Operation
	err = f.wait(ctx, func() (bool, error) {
		for _, o := range f.operations {
			if o.ID == op.ID {
				now = o
			}
		}
		if now.Status.State == spec.OperationFailed {
			return true, spec.Errorf(spec.ErrFailed, "%s: %s", now.Kind, now.Status.Error)
		}
		return now.Status.State.Ended(), nil
	})
	copied := *now
	return &copied, err
}

func (f *fakeCloud) Snapshot(ctx context.Context, id string, all bool) (*spec.Snapshot, *spec.Operation, error) {
	err := f.enter("Snapshot")
	defer f.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	s := &spec.Snapshot{UUID: f.uuid(), Instance: id, Namespace: f.instances[id].Namespace, Node: "node1", Created: f.now, Devices: []string{"vda"}}
	if all {
		s.Devices = append(s.Devices, "vdc")
	}
	s.Status = spec.SnapshotStatus{State: spec.StateCreated, Since: f.now}
	for _, d := range s.Devices {
		s.Status.Files = append(s.Status.Files, spec.SnapshotFile{Device: d, Size: int64(len(f.content)), VirtualSize: 8 << 30})
	}
	op := f.operate(id, spec.OpSnapshot)
	op.Snapshot = s.UUID
	f.snapshots = append(f.snapshots, s)
	return s, op, nil
}

func (f *fakeCloud) SnapshotByID(ctx context.Context, id string) (*spec.Snapshot, error) {
	err := f.enter("SnapshotByID")
	defer f.mu.Unlock()
	for _, s := range f.snapshots {
		if s.UUID == id && err == nil {
			copied := *s
			return &copied, nil
		}
	}
	return nil, cmp.Or(err, error(missing(spec.KindSnapshot, id)))
}

func (f *fakeCloud) InstanceSnapshots(ctx context.Context, id string) (out []*spec.Snapshot, err error) {
	err = f.enter("InstanceSnapshots")
	defer f.mu.Unlock()
	for _, s := range f.snapshots {
		if s.Instance == id {
			out = append(out, s)
		}
	}
	return out, err
}

func (f *fakeCloud) Snapshots(ctx context.Context, namespace string) (out []*spec.Snapshot, err error) {
	err = f.enter("Snapshots")
	defer f.mu.Unlock()
	for _, s := range f.snapshots {
		if s.Namespace == namespace {
			out = append(out, s)
		}
	}
	return out, err
}

// disk is a file in a snapshot.
type disk struct{ *bytes.Reader }

func (disk) Close() error { return nil }

func (f *fakeCloud) OpenSnapshot(ctx context.Context, id, device string) (sf.SnapshotReader, error) {
	err := f.enter("OpenSnapshot")
	defer f.mu.Unlock()
	if device != "vda" {
		err = cmp.Or(err, error(spec.Errorf(spec.ErrNotFound, "snapshot %s has no device %q, only vda", id, device)))
	}
	return disk{bytes.NewReader(f.content)}, err
}

func (f *fakeCloud) DeleteSnapshot(ctx context.Context, id string) error {
	err := f.enter("DeleteSnapshot")
	defer f.mu.Unlock()
	if err == nil && !f.hold {
		f.snapshots = slices.DeleteFunc(f.snapshots, func(s *spec.Snapshot) bool { return s.UUID == id })
	}
	return err
}

func (f *fakeCloud) WaitSnapshotGone(ctx context.Context, id string) error {
	err := f.enter("WaitSnapshotGone")
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.wait(ctx, func() (bool, error) {
		return !slices.ContainsFunc(f.snapshots, func(s *spec.Snapshot) bool { return s.UUID == id }), nil
	})
}

// proceed changes the last operation.
func (f *fakeCloud) proceed(change func(*spec.Operation)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.operations[len(f.operations)-1])
	f.changed.Broadcast()
}

func (f *fakeCloud) ConsoleLog(ctx context.Context, id string, n int64) ([]byte, error) {
	err := f.enter("ConsoleLog")
	defer f.mu.Unlock()
	log := []byte("Linux version 6.1\r\nvm1 login: \xff")
	return log[max(0, len(log)-int(n)):], err
}

func (f *fakeCloud) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	err := f.enter("Console")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.port(), nil
}

func (f *fakeCloud) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	err := f.enter("Display")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.port(), nil
}

func (f *fakeCloud) Images(context.Context) ([]*spec.CachedImage, error) {
	err := f.enter("Images")
	defer f.mu.Unlock()
	return []*spec.CachedImage{{ID: "sha256-1", Names: []string{"cirros"}, Node: "node1", Format: "qcow2", Size: 20e6, VirtualSize: 1 << 30, Used: f.now, Users: 1},
		{ID: "sha256-2", Names: []string{"http://x/cd.iso", "cd"}, Node: "node1", Format: "raw", CDROM: true, Size: 1e9, VirtualSize: 1e9, Used: f.now}}, err
}

func (f *fakeCloud) Stats() sf.Stats {
	return sf.Stats{Store: sf.StoreStats{Gets: 7}, Node: &sf.NodeStats{Name: "node1"}}
}

func (f *fakeCloud) CacheImage(ctx context.Context, name string, report func(sf.Progress)) error {
	err := f.enter("CacheImage")
	f.mu.Unlock()
	if report != nil {
		for _, done := range []int64{5e6, 20e6} {
			report(sf.Progress{Stage: "downloading", Done: done, Total: 20e6})
		}
	}
	return err
}

func (f *fakeCloud) DeleteImage(ctx context.Context, id string) error {
	err := f.enter("DeleteImage")
	defer f.mu.Unlock()
	if id == "sha256-1" {
		err = cmp.Or(err, error(spec.Errorf(spec.ErrInUse, "image %s is in use", id)))
	}
	return err
}

func (f *fakeCloud) Nodes(context.Context) ([]*spec.Node, error) {
	err := f.enter("Nodes")
	defer f.mu.Unlock()
	return []*spec.Node{{Name: "node1", Address: "10.0.0.11", Version: "1.0", Driver: "fake", Accel: "tcg", Seen: f.now, Live: true}}, err
}
