package client

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// The records as they come over the wire, and how they become those of package
// spec. Members that only our server sends may be absent.

// seconds since 1970 with a fraction.
type seconds float64

func (s seconds) time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(float64(s) * 1e6))).UTC()
}

// number is a whole number, also as a string of digits, which is how servers of
// 0.2 give back sizes that they were given so.
type number int

func (n *number) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		if s == "" {
			return nil
		}
		data = []byte(s)
	}
	v, err := strconv.Atoi(string(data))
	*n = number(v)
	return err
}

// address is an IP address, or none where it is empty or null.
type address struct{ netip.Addr }

func (a *address) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil || s == "" {
		return err
	}
	return a.Addr.UnmarshalText([]byte(s))
}

// condition is why an object is not what was asked for, or not yet.
type condition struct {
	Error    string         `json:"error"`
	Wait     *spec.Wait     `json:"wait"`
	Deletion *spec.Deletion `json:"deletion"`
}

// state is the state that the cloud has for it. Over the wire, what is being
// deleted still counts as created.
func (c condition) state(s spec.State) spec.State {
	if c.Deletion != nil && !c.Deletion.Gone() {
		return spec.StateDeleting
	}
	return s
}

type instanceRecord struct {
	UUID         string      `json:"uuid"`
	Name         string      `json:"name"`
	CPUs         number      `json:"cpus"`
	Memory       number      `json:"memory"`
	DiskSpec     []diskSpec  `json:"disk_spec"`
	SSHKey       string      `json:"ssh_key"`
	Node         string      `json:"node"`
	ConsolePort  int         `json:"console_port"`
	VDIPort      int         `json:"vdi_port"`
	UserData     string      `json:"user_data"`
	BlockDevices *deviceList `json:"block_devices"`
	State        spec.State  `json:"state"`
	StateUpdated seconds     `json:"state_updated"`
	Namespace    string      `json:"namespace"`
	PowerState   string      `json:"power_state"`
	PowerBefore  string      `json:"power_state_previous"`
	PowerUpdated seconds     `json:"power_state_updated"`
	Video        videoSpec   `json:"video"`
	Created      seconds     `json:"created"`
	UEFI         bool        `json:"uefi"`
	PlacedOn     string      `json:"placed_on"`
	Boot         int64       `json:"boot"`
	Version      string      `json:"version"`
	Power        struct {
		spec.Power
		Answered int64  `json:"answered"`
		Ended    string `json:"ended"`
	} `json:"power"`
	condition
}

type diskSpec struct {
	Size number `json:"size"`
	Base string `json:"base"`
	Bus  string `json:"bus"`
	Type string `json:"type"`
}

type videoSpec struct {
	Model  string `json:"model"`
	Memory number `json:"memory"`
}

type deviceList struct {
	Devices []struct {
		Type      string `json:"type"`
		Size      number `json:"size"`
		Device    string `json:"device"`
		Bus       string `json:"bus"`
		Path      string `json:"path"`
		Base      string `json:"base"`
		PresentAs string `json:"present_as"`
	} `json:"devices"`
}

func (r *instanceRecord) instance() *spec.Instance {
	i := &spec.Instance{
		UUID: r.UUID, Namespace: r.Namespace, Created: r.Created.time(), Node: r.Node, Deletion: r.Deletion, Power: r.Power.Power, Version: r.Version,
		InstanceSpec: spec.InstanceSpec{
			Name: r.Name, CPUs: int(r.CPUs), MemoryMiB: int(r.Memory), SSHKey: r.SSHKey, UEFI: r.UEFI, PlacedOn: r.PlacedOn,
			Video: spec.Video{Model: r.Video.Model, MemoryKiB: int(r.Video.Memory)},
		},
		Status: spec.InstanceStatus{
			State: r.state(r.State), Since: r.StateUpdated.time(), Error: r.Error, Wait: r.Wait,
			Power: spec.PowerState(r.PowerState), PowerBefore: spec.PowerState(r.PowerBefore), PowerSince: r.PowerUpdated.time(),
			Generation: r.Power.Answered, Ended: r.Power.Ended, Boot: r.Boot,
			ConsolePort: r.ConsolePort, VDIPort: r.VDIPort,
		},
	}
	i.UserData, _ = base64.StdEncoding.DecodeString(r.UserData) // servers of 0.2 take anything
	i.UserDataSize = len(i.UserData)
	for _, d := range r.DiskSpec {
		i.Disks = append(i.Disks, spec.Disk{SizeGB: int(d.Size), Base: d.Base, Bus: d.Bus, Type: d.Type})
	}
	if r.BlockDevices != nil {
		for _, d := range r.BlockDevices.Devices {
			i.Status.Volumes = append(i.Status.Volumes, spec.VolumeState{Device: d.Device, Bus: d.Bus, Type: d.Type,
				Size: int64(d.Size) << 30, Path: d.Path, Base: d.Base, CDROM: d.PresentAs == "cdrom"})
		}
	}
	return i
}

type networkRecord struct {
	UUID         string     `json:"uuid"`
	VXID         uint32     `json:"vxid"`
	Netblock     string     `json:"netblock"`
	DHCP         bool       `json:"provide_dhcp"`
	NAT          bool       `json:"provide_nat"`
	Namespace    string     `json:"namespace"`
	Gateway      address    `json:"floating_gateway"`
	Name         string     `json:"name"`
	State        spec.State `json:"state"`
	StateUpdated seconds    `json:"state_updated"`
	Created      seconds    `json:"created"`
	Node         string     `json:"node"`
	Version      string     `json:"version"`
	condition
}

func (r *networkRecord) network() *spec.Network {
	return &spec.Network{
		UUID: r.UUID, Namespace: r.Namespace, Created: r.Created.time(), VNI: r.VXID, Gateway: r.Gateway.Addr,
		Node: r.Node, Deletion: r.Deletion, Version: r.Version,
		NetworkSpec: spec.NetworkSpec{Name: r.Name, Netblock: r.Netblock, DHCP: r.DHCP, NAT: r.NAT},
		Status:      spec.NetworkStatus{State: r.state(r.State), Since: r.StateUpdated.time(), Error: r.Error, Wait: r.Wait},
	}
}

type interfaceRecord struct {
	UUID         string     `json:"uuid"`
	Network      string     `json:"network_uuid"`
	Instance     string     `json:"instance_uuid"`
	MAC          string     `json:"macaddr"`
	IPv4         address    `json:"ipv4"`
	Order        int        `json:"order"`
	Floating     address    `json:"floating"`
	State        spec.State `json:"state"`
	StateUpdated seconds    `json:"state_updated"`
	Model        string     `json:"model"`
	Namespace    string     `json:"namespace"`
}

func (r *interfaceRecord) nic() *spec.Interface {
	return &spec.Interface{
		UUID: r.UUID, Network: r.Network, Instance: r.Instance, MAC: r.MAC, Address: r.IPv4.Addr, Order: r.Order,
		Floating: r.Floating.Addr, State: r.State, Since: r.StateUpdated.time(), Model: r.Model, Namespace: r.Namespace,
	}
}

type eventRecord struct {
	Timestamp seconds   `json:"timestamp"`
	Kind      spec.Kind `json:"object_type"`
	Object    string    `json:"object_uuid"`
	FQDN      string    `json:"fqdn"`
	Operation string    `json:"operation"`
	Phase     string    `json:"phase"`
	Duration  float64   `json:"duration"`
	Message   string    `json:"message"`
	Count     int       `json:"count"`
	Last      seconds   `json:"last"`
}

func (r *eventRecord) event() *spec.Event {
	return &spec.Event{
		Time: r.Timestamp.time(), Kind: r.Kind, Object: r.Object, Node: r.FQDN, Operation: r.Operation, Phase: r.Phase,
		Duration: time.Duration(math.Round(r.Duration * 1e9)), Message: r.Message, Count: r.Count, Last: r.Last.time(),
	}
}

type operationRecord struct {
	ID           string              `json:"id"`
	Instance     string              `json:"instance_uuid"`
	Namespace    string              `json:"namespace"`
	Kind         spec.OperationKind  `json:"kind"`
	Snapshot     string              `json:"snapshot_uuid"`
	Created      seconds             `json:"created"`
	Deadline     seconds             `json:"deadline"`
	State        spec.OperationState `json:"state"`
	StateUpdated seconds             `json:"state_updated"`
	Error        string              `json:"error"`
	Done         int64               `json:"done"`
	Total        int64               `json:"total"`
}

func (r *operationRecord) operation() *spec.Operation {
	return &spec.Operation{
		ID: r.ID, Instance: r.Instance, Namespace: r.Namespace, Kind: r.Kind, Snapshot: r.Snapshot, Created: r.Created.time(), Deadline: r.Deadline.time(),
		Status: spec.OperationStatus{State: r.State, Since: r.StateUpdated.time(), Error: r.Error, Done: r.Done, Total: r.Total},
	}
}

// copyRecord is one disk of a snapshot.
type copyRecord struct {
	UUID        string     `json:"uuid"`
	Device      string     `json:"device"`
	Instance    string     `json:"instance_uuid"`
	Created     seconds    `json:"created"`
	State       spec.State `json:"state"`
	Error       string     `json:"error"`
	Size        int64      `json:"size"`
	VirtualSize int64      `json:"virtual_size"`
}

// snapshotsOf gathers the disks of each snapshot. Servers of 0.2 tell no state, and
// show what is complete.
func snapshotsOf(list []copyRecord) []*spec.Snapshot {
	out := []*spec.Snapshot{}
	found := map[string]*spec.Snapshot{}
	for _, r := range list {
		s := found[r.UUID]
		if s == nil {
			s = &spec.Snapshot{UUID: r.UUID, Instance: r.Instance, Created: r.Created.time(),
				Status: spec.SnapshotStatus{State: r.State, Error: r.Error}}
			if s.Status.State == "" {
				s.Status.State = spec.StateCreated
			}
			found[r.UUID], out = s, append(out, s)
		}
		s.Devices = append(s.Devices, r.Device)
		if s.Status.State == spec.StateCreated {
			s.Status.Files = append(s.Status.Files, spec.SnapshotFile{Device: r.Device, Size: r.Size, VirtualSize: r.VirtualSize})
		}
	}
	return out
}

type snapshotRecord struct {
	UUID         string              `json:"uuid"`
	Instance     string              `json:"instance_uuid"`
	Namespace    string              `json:"namespace"`
	Node         string              `json:"node"`
	Created      seconds             `json:"created"`
	Devices      []string            `json:"devices"`
	State        spec.State          `json:"state"`
	StateUpdated seconds             `json:"state_updated"`
	Error        string              `json:"error"`
	Files        []spec.SnapshotFile `json:"files"`
	Deletion     *spec.Deletion      `json:"deletion"`
}

func (r *snapshotRecord) snapshot() *spec.Snapshot {
	return &spec.Snapshot{
		UUID: r.UUID, Instance: r.Instance, Namespace: r.Namespace, Node: r.Node, Created: r.Created.time(), Devices: r.Devices, Deletion: r.Deletion,
		Status: spec.SnapshotStatus{State: r.State, Since: r.StateUpdated.time(), Error: r.Error, Files: r.Files},
	}
}

type imageRecord struct {
	ID          string   `json:"id"`
	Names       []string `json:"names"`
	Node        string   `json:"node"`
	Format      string   `json:"format"`
	CDROM       bool     `json:"cdrom"`
	Size        int64    `json:"size"`
	VirtualSize int64    `json:"virtual_size"`
	Used        seconds  `json:"used"`
	Users       int      `json:"users"`
}

func (r *imageRecord) image() *spec.CachedImage {
	return &spec.CachedImage{ID: r.ID, Names: r.Names, Node: r.Node, Format: r.Format, CDROM: r.CDROM,
		Size: r.Size, VirtualSize: r.VirtualSize, Used: r.Used.time(), Users: r.Users}
}

type nodeRecord struct {
	Name     string        `json:"name"`
	IP       string        `json:"ip"`
	LastSeen seconds       `json:"lastseen"`
	Version  string        `json:"version"`
	Live     bool          `json:"live"`
	Cordoned bool          `json:"cordoned"`
	Driver   string        `json:"driver"`
	Accel    string        `json:"accel"`
	Notes    []string      `json:"notes"`
	Limits   spec.Capacity `json:"limits"`
	Used     spec.Capacity `json:"used"`
}

func (r *nodeRecord) node() *spec.Node {
	return &spec.Node{Name: r.Name, Address: r.IP, Seen: r.LastSeen.time(), Version: r.Version, Live: r.Live, Cordoned: r.Cordoned,
		Driver: r.Driver, Accel: r.Accel, Notes: r.Notes, Limits: r.Limits, Used: r.Used}
}

// each converts a list of records.
func each[R, T any](list []R, convert func(*R) *T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = convert(&list[i])
	}
	return out
}
