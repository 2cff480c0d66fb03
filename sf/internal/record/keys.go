package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// Root is the prefix of every key of a cloud.
const Root = "sf/"

// Keys of records. docs/design.md tells who writes and who watches each.
func CloudKey() string                  { return Root + "cloud" }
func NamespaceKey(name string) string   { return NamespacePrefix + name }
func NetworkKey(id string) string       { return NetworkPrefix + id }
func NetworkStatusKey(id string) string { return Root + "network-status/" + id }
func InstanceKey(id string) string      { return InstancePrefix + id }
func InstanceStatusKey(id string) string {
	return InstanceStatusPrefix + id
}
func UserDataKey(instance string) string        { return Root + "user-data/" + instance }
func InterfaceKey(network, id string) string    { return InterfacePrefix(network) + id }
func InterfaceIndexKey(id string) string        { return Root + "interface-index/" + id }
func InterfacePrefix(network string) string     { return MeshPrefix(network) + "nic/" }
func AddressKey(network, addr string) string    { return AddressPrefix(network) + addr }
func AddressPrefix(network string) string       { return Root + "address/" + network + "/" }
func MACKey(mac string) string                  { return Root + "mac/" + mac }
func VNIKey(vni uint32) string                  { return fmt.Sprintf(Root+"vni/%08d", vni) }
func NodeKey(name string) string                { return NodePrefix + name }
func NodeLiveKey(name string) string            { return NodeLivePrefix + name }
func NodeUsedKey(name string) string            { return Root + "node-used/" + name }
func WorkPrefix(node string) string             { return Root + "work/" + node + "/" }
func MemberPrefix(network string) string        { return Root + "member/" + network + "/" }
func MemberKey(network, node string) string     { return MemberPrefix(network) + node }
func MetadataKey(k spec.Kind, id string) string { return Root + "metadata/" + string(k) + "/" + id }
func EventPrefix(k spec.Kind, id string) string { return Root + "event/" + string(k) + "/" + id + "/" }
func IdempotencyKey(namespace string, k spec.Kind, key string) string {
	return IdempotencyPrefix(namespace) + string(k) + "/" + key
}

// IdempotencyPrefix holds a namespace's idempotency keys.
func IdempotencyPrefix(namespace string) string { return Root + "once/" + namespace + "/" }

// WorkKey is an entry of a node's work list: it exists while the node has a part
// in the object, and is written whenever the node should look at it again.
func WorkKey(node string, k spec.Kind, id string) string {
	return WorkPrefix(node) + string(k) + "/" + id
}

// LivePrefix indexes the objects of a namespace that are not deleted.
func LivePrefix(k spec.Kind, namespace string) string {
	return Root + "live/" + string(k) + "/" + namespace + "/"
}

// DeadPrefix indexes the deleted objects of a namespace that are still readable.
func DeadPrefix(k spec.Kind, namespace string) string {
	return Root + "dead/" + string(k) + "/" + namespace + "/"
}

// Prefixes of records that are listed whole.
const (
	NamespacePrefix      = Root + "namespace/"
	NetworkPrefix        = Root + "network/"
	InstancePrefix       = Root + "instance/"
	InstanceStatusPrefix = Root + "instance-status/"
	NodePrefix           = Root + "node/"
	NodeLivePrefix       = Root + "node-live/"
	ExpiryPrefix         = Root + "expire/"
)

// ExpiryKey orders what the janitor is to remove by when. what is a kind and the
// parts that name the thing.
func ExpiryKey(at time.Time, what ...string) string {
	return fmt.Sprintf("%s%012d/%s", ExpiryPrefix, at.Unix(), strings.Join(what, "/"))
}

// ParseExpiryKey returns what ExpiryKey was made from.
func ParseExpiryKey(key string) (at time.Time, what []string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, ExpiryPrefix), "/")
	var unix int64
	if len(parts) < 2 {
		return at, nil, false
	}
	if _, err := fmt.Sscanf(parts[0], "%d", &unix); err != nil {
		return at, nil, false
	}
	return time.Unix(unix, 0).UTC(), parts[1:], true
}

// MeshPrefix holds what every member of a network has to know: its interfaces,
// which node routes it, and whether it is to go. Members watch it.
func MeshPrefix(network string) string { return Root + "mesh/" + network + "/" }

// RouterKey says which node routes a network.
func RouterKey(network string) string { return MeshPrefix(network) + "router" }

// EndKey exists once a network is to be deleted.
func EndKey(network string) string { return MeshPrefix(network) + "end" }

// NodeSeenKey is when a node's agent was last heard of, roughly.
func NodeSeenKey(node string) string { return Root + "node-seen/" + node }

// NodeJoinedKey is written when a node joins the cloud and never again: its revision says
// when, in the order of all changes.
func NodeJoinedKey(node string) string { return Root + "node-joined/" + node }

// SecretKey is a secret that the cloud's processes share.
func SecretKey(name string) string { return Root + "secret/" + name }

// NodeLostKey exists while a node's agent is gone, and says since when.
func NodeLostKey(node string) string { return Root + "node-lost/" + node }

// CordonKey exists while a node takes nothing new.
func CordonKey(node string) string { return Root + "cordon/" + node }

// TagKey finds a namespace's instances that carry a tag.
func TagKey(namespace, tag, instance string) string {
	return Root + "tag/" + namespace + "/" + tag + "/" + instance
}

// HolderPrefix finds the nodes that have the image of a name in their caches. Names
// may hold secrets and slashes, so their hash stands for them.
func HolderPrefix(name string) string { return holderKey(hash(name), "") }

// NodeImagePrefix holds what a node has in its cache, by the hash of the name.
func NodeImagePrefix(node string) string { return Root + "node-image/" + node + "/" }

// NodeImageKeys are the two keys that say that a node has the image of a name: that
// of the node's list, and of the index by name.
func NodeImageKeys(node, name string) (list, index string) {
	return NodeImagePrefix(node) + hash(name), holderKey(hash(name), node)
}

// IndexOf is the index's key for one of a node's list.
func IndexOf(node, list string) string { return holderKey(Base(list), node) }

func holderKey(hash, node string) string { return Root + "image/" + hash + "/" + node }

func hash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// Base returns what follows the last slash of a key.
func Base(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// Split returns the sort and the name of a record whose key has just these two
// parts, such as an instance's or a network status's.
func Split(key string) (sort, name string, ok bool) {
	sort, name, ok = strings.Cut(strings.TrimPrefix(key, Root), "/")
	return sort, name, ok && !strings.Contains(name, "/")
}

// OperationPrefix holds an instance's operations, oldest first.
func OperationPrefix(instance string) string { return Root + "operation/" + instance + "/" }

// OperationStatusPrefix holds their statuses.
func OperationStatusPrefix(instance string) string {
	return Root + "operation-status/" + instance + "/"
}

// SnapshotKey is a snapshot as wanted.
func SnapshotKey(id string) string { return Root + "snapshot/" + id }

// SnapshotStatusKey is a snapshot as it is.
func SnapshotStatusKey(id string) string { return Root + "snapshot-status/" + id }

// SnapshotIndexKey finds an instance's snapshots, oldest first.
func SnapshotIndexKey(instance string, created time.Time, id string) string {
	return fmt.Sprintf("%s%016x-%s", SnapshotIndexPrefix(instance), created.UnixNano(), id)
}

// SnapshotIndexPrefix is the index of an instance's snapshots.
func SnapshotIndexPrefix(instance string) string { return Root + "snapshot-index/" + instance + "/" }
