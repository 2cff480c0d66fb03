package spec

import "time"

// InstanceSpec is what a user asks for when creating an instance.
type InstanceSpec struct {
	Name       string          `json:"name"`
	CPUs       int             `json:"cpus"`
	MemoryMiB  int             `json:"memory_mib"`
	Disks      []Disk          `json:"disks"` // the first boots
	Interfaces []InterfaceSpec `json:"interfaces,omitempty"`
	SSHKey     string          `json:"ssh_key,omitempty"`
	UserData   []byte          `json:"-"` // kept apart; at most MaxUserData bytes
	Video      Video           `json:"video,omitzero"`
	UEFI       bool            `json:"uefi,omitempty"`
	PlacedOn   string          `json:"placed_on,omitempty"` // node name; empty lets the scheduler choose
	Metadata   Metadata        `json:"-"`
	// IdempotencyKey makes a repeated create return the first one's instance, for
	// 24 hours, per namespace. The same key with another spec is ErrConflict.
	IdempotencyKey string `json:"-"`
}

// Disk asks for a block device. Empty members mean what their comments say and
// are kept empty, so that a user reads back what they wrote.
type Disk struct {
	SizeGB int    `json:"size,omitempty"` // GiB; 0 takes the image's size, and is wrong for a blank disk
	Base   string `json:"base,omitempty"` // image; empty is a blank disk
	Bus    string `json:"bus,omitempty"`  // empty is the cloud's default, virtio
	Type   string `json:"type,omitempty"` // "disk" or "cdrom"; empty is disk
}

// Video asks for a graphics card. The zero Video is a cirrus with 16 MiB.
type Video struct {
	Model     string `json:"model,omitempty"`
	MemoryKiB int    `json:"memory,omitempty"`
}

// PowerState is what an instance's power is, or is wanted to be.
type PowerState string

// Power states. Wanted are only on, off and paused.
const (
	PowerInitial PowerState = "initial" // not started yet
	PowerOn      PowerState = "on"
	PowerOff     PowerState = "off"
	PowerPaused  PowerState = "paused"
	PowerCrashed PowerState = "crashed"
)

// Power is wanted power. Each wish has a generation: a guest that shuts itself
// down has ended that generation, and stays down until there is a new wish.
type Power struct {
	Want       PowerState `json:"want"`
	Generation int64      `json:"generation"`
	// Ask is until when the guest is asked to shut itself down before PowerOff is
	// like pulling the plug; zero asks nobody.
	Ask time.Time `json:"ask,omitzero"`
	// Then is what was wanted before a drain, which starts the instance elsewhere with it.
	// One that was interrupted does so when it is asked again. Empty else.
	Then PowerState `json:"then,omitempty"`
}

// MaxAsk is how long a guest is asked to shut itself down at most.
const MaxAsk = time.Hour

// Instance is a virtual machine.
type Instance struct {
	UUID      string    `json:"uuid"`
	Namespace string    `json:"namespace"`
	Created   time.Time `json:"created"`
	InstanceSpec
	Node         string    `json:"node"`                     // that it is placed on
	NICs         []NICRef  `json:"nics,omitempty"`           // in order
	Tags         []string  `json:"tags,omitempty"`           // from its metadata, when it was created
	Seed         []byte    `json:"seed,omitempty"`           // the config drive's random seed, fixed at creation
	UserDataSize int       `json:"user_data_size,omitempty"` // bytes
	Power        Power     `json:"power"`
	Deletion     *Deletion `json:"deletion,omitempty"`
	// Brought are the disks, by index, whose content was brought to the node: they are
	// used as they are, where others are made from their images.
	Brought []int `json:"brought,omitempty"`

	Status  InstanceStatus `json:"-"`
	Version string         `json:"-"` // changes with anything above
}

// NICRef finds an interface record.
type NICRef struct {
	UUID    string `json:"uuid"`
	Network string `json:"network"`
}

// Claim is what the instance takes of its node.
func (i *Instance) Claim() Capacity {
	c := Capacity{CPUs: i.CPUs, MemoryMiB: i.MemoryMiB, Instances: 1}
	for _, d := range i.Disks {
		c.DiskGB += d.SizeGB
	}
	return c
}

// InstanceStatus is an instance as it is, written by its node.
type InstanceStatus struct {
	State       State         `json:"state"`
	Since       time.Time     `json:"since"` // of the last change of State
	Error       string        `json:"error,omitempty"`
	Wait        *Wait         `json:"wait,omitempty"`
	Trouble     time.Time     `json:"trouble,omitzero"` // since when its creation has been failing
	Power       PowerState    `json:"power"`
	PowerBefore PowerState    `json:"power_before,omitempty"`
	PowerSince  time.Time     `json:"power_since,omitzero"`
	Generation  int64         `json:"generation"`             // of Power that Power answers
	Ended       string        `json:"ended,omitempty"`        // why that generation ended by itself
	Boot        int64         `json:"boot,omitempty"`         // the driver's count of starts
	Resets      int64         `json:"resets,omitempty"`       // the driver's count of restarts that were no starts
	ConsolePort int           `json:"console_port,omitempty"` // raw TCP ports on the node, where it opens them; 0 if not
	VDIPort     int           `json:"vdi_port,omitempty"`
	Volumes     []VolumeState `json:"volumes,omitempty"`

	// Unreachable is since when the instance's node has been away, give or take a
	// minute; zero while it is there. What is said above is as the node left it.
	Unreachable time.Time `json:"-"`
}

// Boots counts the boots of the guest, as far as they were noticed.
func (s *InstanceStatus) Boots() int64 { return s.Boot + s.Resets }

// VolumeState is a block device that was made for an instance.
type VolumeState struct {
	Device string `json:"device"` // "vda"
	Bus    string `json:"bus"`
	Type   string `json:"type"`           // "qcow2" or "raw"
	Size   int64  `json:"size,omitempty"` // bytes
	Path   string `json:"path"`
	Base   string `json:"base,omitempty"`  // as asked for
	Image  string `json:"image,omitempty"` // content ID under it
	CDROM  bool   `json:"cdrom,omitempty"`
	Drive  bool   `json:"drive,omitempty"` // the config drive
}
