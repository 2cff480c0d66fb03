package api

import (
	"context"
	"io"
	"iter"
	"net/netip"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

// cloud is what the API uses of *sf.Cloud. Tests put faults in between.
type cloud interface {
	Stats() sf.Stats

	CreateNamespace(ctx context.Context, name string) error
	Namespace(ctx context.Context, name string) (*spec.Namespace, error)
	Namespaces(ctx context.Context) ([]*spec.Namespace, error)
	DeleteNamespace(ctx context.Context, name string) error
	SetKey(ctx context.Context, namespace, keyName, secret string) error
	DeleteKey(ctx context.Context, namespace, keyName string) error
	Authenticate(ctx context.Context, namespace, secret string) (*spec.Key, error)

	Metadata(ctx context.Context, kind spec.Kind, id string) (spec.Metadata, error)
	ChangeMetadata(ctx context.Context, kind spec.Kind, id string, change func(spec.Metadata) error) error
	FollowEvents(ctx context.Context, opt sf.FollowOptions) iter.Seq2[*sf.EventBatch, error]
	Events(ctx context.Context, kind spec.Kind, id string) ([]*spec.Event, error)

	CreateNetwork(ctx context.Context, namespace string, s spec.NetworkSpec) (*spec.Network, error)
	Network(ctx context.Context, id string) (*spec.Network, error)
	Networks(ctx context.Context, opts sf.ListOptions) ([]*spec.Network, string, error)
	DeleteNetwork(ctx context.Context, id string) error
	WaitNetwork(ctx context.Context, id string, cond func(*spec.Network) (bool, error)) (*spec.Network, error)
	NetworkInterfaces(ctx context.Context, id string) ([]*spec.Interface, error)

	CreateInstance(ctx context.Context, namespace string, s spec.InstanceSpec) (*spec.Instance, error)
	Instance(ctx context.Context, id string) (*spec.Instance, error)
	Instances(ctx context.Context, opts sf.ListOptions) ([]*spec.Instance, string, error)
	DeleteInstance(ctx context.Context, id string) error
	WaitInstance(ctx context.Context, id string, cond func(*spec.Instance) (bool, error)) (*spec.Instance, error)
	InstanceInterfaces(ctx context.Context, id string) ([]*spec.Interface, error)
	Interface(ctx context.Context, id string) (*spec.Interface, error)
	Float(ctx context.Context, id, asked string) (netip.Addr, error)
	Defloat(ctx context.Context, id string) error
	UserData(ctx context.Context, id string) ([]byte, error)
	SetPower(ctx context.Context, id string, want spec.PowerState) (*spec.Instance, error)
	Reboot(ctx context.Context, id string, hard bool) (*spec.Operation, error)
	Operation(ctx context.Context, instance, id string) (*spec.Operation, error)
	Operations(ctx context.Context, instance string) ([]*spec.Operation, error)
	WaitOperation(ctx context.Context, op *spec.Operation) (*spec.Operation, error)
	Snapshot(ctx context.Context, instance string, all bool) (*spec.Snapshot, *spec.Operation, error)
	SnapshotByID(ctx context.Context, id string) (*spec.Snapshot, error)
	InstanceSnapshots(ctx context.Context, instance string) ([]*spec.Snapshot, error)
	Snapshots(ctx context.Context, namespace string) ([]*spec.Snapshot, error)
	OpenSnapshot(ctx context.Context, id, device string) (sf.SnapshotReader, error)
	DeleteSnapshot(ctx context.Context, id string) error
	WaitSnapshotGone(ctx context.Context, id string) error
	ConsoleLog(ctx context.Context, id string, n int64) ([]byte, error)
	Console(ctx context.Context, id string) (io.ReadWriteCloser, error)
	Display(ctx context.Context, id string) (io.ReadWriteCloser, error)

	Images(ctx context.Context) ([]*spec.CachedImage, error)
	CacheImage(ctx context.Context, name string, report func(sf.Progress)) error
	DeleteImage(ctx context.Context, id string) error

	PlaceInstance(ctx context.Context, namespace string, s spec.InstanceSpec) (*sf.Placement, error)
	RecoverInstance(ctx context.Context, id string, fenced bool) (*spec.Instance, error)
	Nodes(ctx context.Context) ([]*spec.Node, error)
	CordonNode(ctx context.Context, name string) error
	UncordonNode(ctx context.Context, name string) error
	DrainNode(ctx context.Context, name string, opt sf.DrainOptions) (*sf.Drained, error)
	RemoveNode(ctx context.Context, name string) error
}

var _ cloud = (*sf.Cloud)(nil)
