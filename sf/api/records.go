package api

import (
	"encoding/base64"
	"net/netip"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// The records as they go over the wire. The members of the seed's records come
// first and keep their names and types; what follows the blank line is ours, and
// safe because its clients ignore what they don't know.

type diskWire struct {
	Size int     `json:"size"` // GB
	Base *string `json:"base"`
	Bus  *string `json:"bus"`
	Type *string `json:"type"`
}

type videoWire struct {
	Model  string `json:"model"`
	Memory int    `json:"memory"` // KiB
}

type deviceWire struct {
	Type            string  `json:"type"`
	Size            *int64  `json:"size,omitempty"` // GB
	Device          string  `json:"device"`
	Bus             string  `json:"bus"`
	Path            string  `json:"path"`
	Base            *string `json:"base,omitempty"`
	PresentAs       string  `json:"present_as"`
	SnapshotIgnores bool    `json:"snapshot_ignores"`
}

type devicesWire struct {
	Devices   []deviceWire `json:"devices"`
	Finalized bool         `json:"finalized"`
}

type powerWire struct {
	spec.Power
	Answered int64  `json:"answered"` // generation that power_state answers
	Ended    string `json:"ended,omitempty"`
}

type instanceWire struct {
	UUID               string       `json:"uuid"`
	Name               string       `json:"name"`
	CPUs               int          `json:"cpus"`
	Memory             int          `json:"memory"` // MiB
	DiskSpec           []diskWire   `json:"disk_spec"`
	SSHKey             *string      `json:"ssh_key"`
	Node               string       `json:"node"`
	ConsolePort        int          `json:"console_port"` // raw, 0 where the node opens none
	VDIPort            int          `json:"vdi_port"`
	UserData           *string      `json:"user_data"` // base64
	BlockDevices       *devicesWire `json:"block_devices"`
	State              spec.State   `json:"state"`
	StateUpdated       seconds      `json:"state_updated"`
	Namespace          string       `json:"namespace"`
	PowerState         string       `json:"power_state"`
	PowerStatePrevious string       `json:"power_state_previous,omitempty"`
	PowerStateUpdated  *seconds     `json:"power_state_updated,omitempty"`
	Video              videoWire    `json:"video"`

	Created  seconds   `json:"created"`
	UEFI     bool      `json:"uefi,omitempty"`
	PlacedOn string    `json:"placed_on,omitempty"`
	Power    powerWire `json:"power"`
	Boot     int64     `json:"boot,omitempty"` // starts so far
	Version  string    `json:"version,omitempty"`
	condition
}

// condition is why an object is not what was asked for, or not yet.
type condition struct {
	Error    string         `json:"error,omitempty"`
	Wait     *spec.Wait     `json:"wait,omitempty"`
	Deletion *spec.Deletion `json:"deletion,omitempty"`
}

type networkWire struct {
	UUID            string     `json:"uuid"`
	VXID            uint32     `json:"vxid"`
	Netblock        string     `json:"netblock"`
	ProvideDHCP     bool       `json:"provide_dhcp"`
	ProvideNAT      bool       `json:"provide_nat"`
	Namespace       *string    `json:"namespace"`
	FloatingGateway *string    `json:"floating_gateway"`
	Name            *string    `json:"name"`
	State           spec.State `json:"state"`
	StateUpdated    seconds    `json:"state_updated"`

	Created seconds `json:"created"`
	Node    string  `json:"node,omitempty"` // that is its router
	Version string  `json:"version,omitempty"`
	condition
}

// networkSummary is a network in a list. The seed calls the VXLAN's number
// vxlan_id there, and shows fewer members.
type networkSummary struct {
	VXLANID uint32 `json:"vxlan_id"`
	networkWire
}

type interfaceWire struct {
	UUID         string     `json:"uuid"`
	NetworkUUID  string     `json:"network_uuid"`
	InstanceUUID string     `json:"instance_uuid"`
	MAC          string     `json:"macaddr"`
	IPv4         *string    `json:"ipv4"`
	Order        int        `json:"order"`
	Floating     *string    `json:"floating"`
	State        spec.State `json:"state"`
	StateUpdated seconds    `json:"state_updated"`
	Model        string     `json:"model"`

	Namespace string `json:"namespace"`
}

type eventWire struct {
	Timestamp  seconds  `json:"timestamp"`
	ObjectType *string  `json:"object_type"`
	ObjectUUID string   `json:"object_uuid"`
	FQDN       string   `json:"fqdn"` // of the node
	Operation  *string  `json:"operation"`
	Phase      *string  `json:"phase"`
	Duration   *float64 `json:"duration"` // seconds
	Message    *string  `json:"message"`

	Count int      `json:"count,omitempty"` // how often it was repeated since
	Last  *seconds `json:"last,omitempty"`
	ID    string   `json:"id"`
}

type nodeWire struct {
	Name     string  `json:"name"`
	IP       string  `json:"ip"`
	LastSeen seconds `json:"lastseen"`
	Version  *string `json:"version"`

	Live     bool          `json:"live"`
	Cordoned bool          `json:"cordoned"`
	Driver   string        `json:"driver"`
	Accel    string        `json:"accel"`
	Notes    []string      `json:"notes,omitempty"`
	Limits   spec.Capacity `json:"limits"`
	Used     spec.Capacity `json:"used"`
}

// seconds is a time as the seed writes it: seconds since 1970 with a fraction.
type seconds float64

func at(t time.Time) seconds {
	if t.IsZero() {
		return 0
	}
	return seconds(float64(t.UnixMicro()) / 1e6)
}

func since(t time.Time) *seconds {
	if t.IsZero() {
		return nil
	}
	s := at(t)
	return &s
}

// orNull is s, or null where it is empty.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func addressOrNull(a netip.Addr) *string {
	if !a.IsValid() {
		return nil
	}
	return orNull(a.String())
}

// oldState is a state in the seed's words, which knows no deleting: an object
// counts as created until it is gone. The member deletion tells.
func oldState(s spec.State) spec.State {
	if s == spec.StateDeleting {
		return spec.StateCreated
	}
	return s
}

func wireInstance(i *spec.Instance, userData []byte) *instanceWire {
	w := &instanceWire{
		UUID: i.UUID, Name: i.Name, CPUs: i.CPUs, Memory: i.MemoryMiB,
		DiskSpec: make([]diskWire, 0, len(i.Disks)), SSHKey: orNull(i.SSHKey), Node: i.Node,
		ConsolePort: i.Status.ConsolePort, VDIPort: i.Status.VDIPort,
		BlockDevices: wireDevices(i.Status.Volumes), State: oldState(i.Status.State), StateUpdated: at(i.Status.Since),
		Namespace: i.Namespace, PowerState: string(i.Status.Power), PowerStatePrevious: string(i.Status.PowerBefore),
		PowerStateUpdated: since(i.Status.PowerSince), Video: wireVideo(i.Video),
		Created: at(i.Created), UEFI: i.UEFI, PlacedOn: i.PlacedOn, Boot: i.Status.Boot, Version: i.Version,
		Power:     powerWire{i.Power, i.Status.Generation, i.Status.Ended},
		condition: condition{i.Status.Error, i.Status.Wait, i.Deletion},
	}
	if w.PowerState == "" {
		w.PowerState = string(spec.PowerInitial)
	}
	if len(userData) > 0 {
		w.UserData = orNull(base64.StdEncoding.EncodeToString(userData))
	}
	for _, d := range i.Disks {
		w.DiskSpec = append(w.DiskSpec, diskWire{d.SizeGB, orNull(d.Base), orNull(d.Bus), orNull(d.Type)})
	}
	return w
}

func wireVideo(v spec.Video) videoWire {
	w := videoWire{v.Model, v.MemoryKiB}
	if w.Model == "" {
		w.Model = "cirrus"
	}
	if w.Memory == 0 {
		w.Memory = 16384
	}
	return w
}

func wireDevices(volumes []spec.VolumeState) *devicesWire {
	if len(volumes) == 0 {
		return nil
	}
	w := &devicesWire{Finalized: true}
	for _, v := range volumes {
		d := deviceWire{Type: v.Type, Device: v.Device, Bus: v.Bus, Path: v.Path, PresentAs: "disk",
			SnapshotIgnores: v.Drive || v.CDROM || v.Type != "qcow2"}
		if v.CDROM {
			d.PresentAs = "cdrom"
		}
		if !v.Drive {
			gb := v.Size >> 30
			d.Size, d.Base = &gb, orNull(v.Base)
		}
		w.Devices = append(w.Devices, d)
	}
	return w
}

func wireNetwork(n *spec.Network) networkWire {
	return networkWire{
		UUID: n.UUID, VXID: n.VNI, Netblock: n.Netblock, ProvideDHCP: n.DHCP, ProvideNAT: n.NAT,
		Namespace: orNull(n.Namespace), FloatingGateway: addressOrNull(n.Gateway), Name: orNull(n.Name),
		State: oldState(n.Status.State), StateUpdated: at(n.Status.Since),
		Created: at(n.Created), Node: n.Node, Version: n.Version,
		condition: condition{n.Status.Error, n.Status.Wait, n.Deletion},
	}
}

func summaryOf(n *spec.Network) networkSummary { return networkSummary{n.VNI, wireNetwork(n)} }

func wireInterface(n *spec.Interface) interfaceWire {
	return interfaceWire{
		UUID: n.UUID, NetworkUUID: n.Network, InstanceUUID: n.Instance, MAC: n.MAC, IPv4: addressOrNull(n.Address),
		Order: n.Order, Floating: addressOrNull(n.Floating), State: oldState(n.State), StateUpdated: at(n.Since),
		Model: n.Model, Namespace: n.Namespace,
	}
}

// live leaves out the interfaces that are gone.
func live(nics []*spec.Interface) []*spec.Interface {
	var out []*spec.Interface
	for _, n := range nics {
		if n.State != spec.StateDeleted {
			out = append(out, n)
		}
	}
	return out
}

func wireInterfaces(nics []*spec.Interface) []interfaceWire {
	out := []interfaceWire{}
	for _, n := range live(nics) {
		out = append(out, wireInterface(n))
	}
	return out
}

func wireEvent(e *spec.Event) eventWire {
	w := eventWire{
		Timestamp: at(e.Time), ObjectType: orNull(string(e.Kind)), ObjectUUID: e.Object, FQDN: e.Node,
		Operation: orNull(e.Operation), Phase: orNull(e.Phase), Message: orNull(e.Message),
		Count: e.Count, Last: since(e.Last), ID: e.ID,
	}
	if e.Duration != 0 {
		d := e.Duration.Seconds()
		w.Duration = &d
	}
	return w
}

func wireNode(n *spec.Node) nodeWire {
	return nodeWire{
		Name: n.Name, IP: n.Address, LastSeen: at(n.Seen), Version: orNull(n.Version),
		Live: n.Live, Cordoned: n.Cordoned, Driver: n.Driver, Accel: n.Accel, Notes: n.Notes, Limits: n.Limits, Used: n.Used,
	}
}
