// Package spec holds the nouns of a cloud: what users ask for, the records that
// answer them, and the errors. It is a leaf: everything else may import it.
//
// A record has a part that says what is wanted, written by API calls, and a
// Status that says what is so, written by the one node that acts on it.
// Sizes are in the unit that the field's name or comment gives; times are UTC.
package spec

import "time"

// Kind names a sort of object.
type Kind string

// Kinds of objects.
const (
	KindNamespace Kind = "namespace"
	KindNetwork   Kind = "network"
	KindInstance  Kind = "instance"
	KindInterface Kind = "interface"
	KindNode      Kind = "node"
	KindImage     Kind = "image"
)

// System is the namespace of the administrator: it sees and may do everything.
const System = "system"

// FloatingNetwork is the ID of the network that outside addresses come from.
const FloatingNetwork = "floating"

// State of an instance, a network or an interface, in the seed's words.
type State string

// States. Deleting shows a delete that was asked for and is not done yet.
const (
	StateInitial  State = "initial"  // recorded, nothing done yet
	StateCreating State = "creating" // its node is at work
	StateCreated  State = "created"
	StateError    State = "error" // can't become what was asked; delete it
	StateDeleting State = "deleting"
	StateDeleted  State = "deleted" // gone; the record stays readable for a while
)

// Wait says what an object waits for. Every wait has one.
type Wait struct {
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Next     time.Time `json:"next,omitzero"`      // of the next attempt; zero when an event will wake it
	Attempts int       `json:"attempts,omitempty"` // that failed so far
	Done     int64     `json:"done,omitempty"`     // bytes, of a download
	Total    int64     `json:"total,omitempty"`    // bytes, of a download; 0 while unknown
}

// Metadata is free information about an object, by key.
type Metadata map[string]any

// Event is something that happened to an object.
type Event struct {
	ID        string        `json:"id"` // sorts by time within the object
	Time      time.Time     `json:"time"`
	Kind      Kind          `json:"kind"`
	Object    string        `json:"object"` // UUID or name
	Node      string        `json:"node,omitempty"`
	Operation string        `json:"operation,omitempty"`
	Phase     string        `json:"phase,omitempty"`
	Duration  time.Duration `json:"duration,omitempty"`
	Message   string        `json:"message,omitempty"`
	Count     int           `json:"count,omitempty"` // how often it was repeated since Time; 0 is once
	Last      time.Time     `json:"last,omitzero"`   // of the last repetition
}

// EventRestarted is the Operation of an event of an instance: its guest boots again
// though its power stayed on.
const EventRestarted = "restarted"

// Namespace is a tenant.
type Namespace struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Keys    []Key     `json:"keys,omitempty"` // sorted by name
}

// Key lets somebody act for a namespace. The secret itself is not kept.
type Key struct {
	Name    string    `json:"name"`
	Hash    []byte    `json:"hash"`  // bcrypt of the secret
	Nonce   string    `json:"nonce"` // changes with the key; a token carries it, so that it dies with the key
	Created time.Time `json:"created"`
}

// Node is a host that runs instances.
type Node struct {
	Name    string    `json:"name"`
	Address string    `json:"address,omitempty"`  // on the underlay; empty on a cloud of one machine
	Peer    string    `json:"peer,omitempty"`     // host:port where it answers other nodes; empty where it does not
	PeerKey string    `json:"peer_key,omitempty"` // fingerprint of the key that it and they know each other by
	Version string    `json:"version,omitempty"`  // of the software
	Level   int       `json:"level,omitempty"`    // of records that the software understands; see Level
	Started time.Time `json:"started"`            // of the agent
	Driver  string    `json:"driver"`
	Accel   string    `json:"accel"` // "kvm" or "tcg"
	Notes   []string  `json:"notes,omitempty"`

	Buses       []string `json:"buses,omitempty"` // what disks, NICs and graphics cards it can make
	NICModels   []string `json:"nic_models,omitempty"`
	VideoModels []string `json:"video_models,omitempty"`
	UEFI        bool     `json:"uefi,omitempty"`

	CPUs      int `json:"cpus"`       // of the host
	MemoryMiB int `json:"memory_mib"` // of the host
	DiskGB    int `json:"disk_gb"`    // for volumes, GiB

	MTU       int           `json:"mtu,omitempty"`        // of the device that has Address; 0 where unknown
	SelfFence time.Duration `json:"self_fence,omitempty"` // so long after it lost its session, the node stops its machines; 0 never

	Limits   Capacity  `json:"limits"` // what instances may claim in all
	Used     Capacity  `json:"-"`      // what they claim
	Live     bool      `json:"-"`      // its agent holds its session
	Cordoned bool      `json:"-"`      // it takes nothing new
	Seen     time.Time `json:"-"`      // now where Live, else when its agent was heard of last, give or take a minute
	Lost     time.Time `json:"-"`      // since when it surely has held no session; zero while Live
}

// Level counts the changes of records that an older version would take for something
// else than they are. (A new member is none: older versions leave it alone.) What
// needs a level waits until every node that lives has it; see Cloud.Level in sf.
const Level = 1

// Capacity is an amount of what a node has to give.
type Capacity struct {
	CPUs      int `json:"cpus"` // virtual
	MemoryMiB int `json:"memory_mib"`
	DiskGB    int `json:"disk_gb"` // promised, GiB
	Instances int `json:"instances"`
}

// Add returns the sum of two amounts.
func (c Capacity) Add(d Capacity) Capacity {
	return Capacity{c.CPUs + d.CPUs, c.MemoryMiB + d.MemoryMiB, c.DiskGB + d.DiskGB, c.Instances + d.Instances}
}

// Sub returns the difference of two amounts.
func (c Capacity) Sub(d Capacity) Capacity {
	return Capacity{c.CPUs - d.CPUs, c.MemoryMiB - d.MemoryMiB, c.DiskGB - d.DiskGB, c.Instances - d.Instances}
}
