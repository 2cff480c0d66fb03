package sf

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/internal/node"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Config is what a Cloud is made of. Only Store is required.
type Config struct {
	// Store holds the records. The Cloud does not close it.
	Store store.Store
	// Node makes this process run instances on its host; nil only serves calls.
	Node *NodeConfig

	// FloatingNetwork is the block of outside addresses; the zero Prefix keeps the
	// cloud's, which is 192.168.20.0/24 at first. It can change only while no address
	// of it is in use.
	FloatingNetwork netip.Prefix
	// DNS are the resolvers that guests' questions go to; nil is 8.8.8.8.
	DNS []netip.Addr
	// NoNames has guests ask DNS by themselves. Else, where the fabric can, each
	// network's router address answers the names of the network's instances, on the
	// guest's own host, and asks DNS for the rest.
	NoNames bool
	// Zone is the availability zone and the DHCP domain; empty is "shaken".
	Zone string
	// DiskBus is the bus of disks that do not ask for one; empty is "virtio".
	DiskBus string
	// DeletedFor is how long the record of something deleted stays readable; 0 is an hour.
	DeletedFor time.Duration

	// Clock is where time comes from; nil is the machine's.
	Clock Clock
	// Rand is where chance comes from; nil is crypto/rand. A deterministic source
	// and Go make the whole cloud deterministic.
	Rand io.Reader
	// Go starts the cloud's own loops, each with a name; nil is a goroutine each.
	Go func(name string, loop func())
	// Logger gets what operators should know; nil discards.
	Logger *slog.Logger
}

// RawPorts says where instances' raw ports listen.
type RawPorts = node.RawPorts

// Peers asks the agents of other nodes whether they reach the store.
type Peers = node.Peers

// Guard is a dead-man's switch for the machines of a host.
type Guard = node.Guard

// Outside says how a host's routers meet the world.
type Outside = node.Outside

// NodeConfig makes a process a node: a host that runs instances.
type NodeConfig struct {
	// Name of the node, unique in the cloud; empty is the host's name.
	Name string
	// Hypervisor, Volumes and Fabric do the work. The Cloud does not close them.
	Hypervisor driver.Hypervisor
	Volumes    driver.Volumes
	Fabric     netfab.Fabric
	// Address of this host on the network that carries the mesh; not valid on a
	// cloud of one machine.
	Address netip.Addr
	// Uplink is the network device towards the world; empty follows the host's routes.
	Uplink string
	// Outside is how floating addresses are reached, the same on all nodes; its zero
	// value is for a cloud of one host.
	Outside Outside

	// CPUOvercommit is how many virtual CPUs a real one may carry; 0 is 16.
	CPUOvercommit float64
	// MemoryOvercommit is how much of the host's memory instances may claim in
	// all; 0 is 1.5. Above 1 counts on guests not using what they have.
	MemoryOvercommit float64
	// ReservedMemoryMiB is kept for the host itself; 0 is an eighth of its memory,
	// at most 5 GiB. Negative reserves nothing.
	ReservedMemoryMiB int
	// MaxInstances on this node; 0 is 1000.
	MaxInstances int
	// RawPorts opens the seed's console_port and vdi_port for every running
	// instance: telnet to its console and VNC to its screen for whoever can connect.
	// Nil opens none; both are reachable through the authenticated API anyhow.
	RawPorts *RawPorts
	// MinFreeDisk is how many bytes of its disk the node keeps free by evicting
	// images that no instance uses, least recently used first; 0 is 10 GiB. It is
	// never more than a tenth of the disk.
	MinFreeDisk int64
	// Workers is how many things the node does at a time; 0 is 8.
	Workers int
	// Transfers is how many downloads of images and copies of stopped instances'
	// disks go on at a time, beside the workers; 0 is 16. Downloads of one namespace
	// are three quarters of that at most, and leave at least one to others.
	Transfers int
	// SessionTTL is how long the node counts as live after it was last heard of; 0
	// is 15 s.
	SessionTTL time.Duration
	// Guard stops this host's machines SelfFence after the node lost its session
	// while others had theirs, so that they may be started elsewhere without
	// anybody's word (RecoverInstance). Nil never stops them.
	Guard     Guard
	SelfFence time.Duration // 0 with a Guard is a minute; at least SessionTTL
	// MTU of the device that has Address, bytes; 0 is 1500.
	MTU int
	// Endpoint is where this node answers other nodes, as host:port, and EndpointKey
	// the fingerprint of the key by which they know it. Both are for whoever makes
	// the connections; the node's record tells them to the others. The name of a node
	// belongs to the machine with the key: another one is refused while that is there or
	// has instances.
	Endpoint, EndpointKey string
	// Peers asks the agents of other nodes, so that an outage of the whole store does
	// not stop routers; nil asks nobody, and a node of several that is without the
	// store stops routing. Only a cloud of several nodes needs it.
	Peers Peers
	// Version of the software, shown in the node's record.
	Version string
}

func (c Config) withDefaults() (Config, error) {
	if c.DNS == nil {
		c.DNS = []netip.Addr{netip.MustParseAddr("8.8.8.8")}
	}
	if c.Zone == "" {
		c.Zone = "shaken"
	}
	if c.DiskBus == "" {
		c.DiskBus = "virtio"
	}
	if c.DeletedFor == 0 {
		c.DeletedFor = time.Hour
	}
	if c.Clock == nil {
		c.Clock = reconcile.RealClock{}
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Go == nil {
		c.Go = func(_ string, loop func()) { go loop() }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.check(); err != nil {
		return c, err
	}
	if c.Node == nil {
		return c, nil
	}
	n := *c.Node
	c.Node = &n
	if err := n.complete(); err != nil {
		return c, err
	}
	return c, n.check()
}

// maxDNS is how many resolvers guests are told at most.
const maxDNS = 16

// check says what guests could not be told, before the first network fails for it.
func (c *Config) check() error {
	if !spec.ValidLabel(c.Zone) {
		return fmt.Errorf("zone %q: only letters, digits and -_.@+ can be in it, at most 128", c.Zone)
	}
	if !slices.Contains(spec.Buses, c.DiskBus) {
		return fmt.Errorf("disk bus %q is not one of %s", c.DiskBus, strings.Join(spec.Buses, ", "))
	}
	if len(c.DNS) > maxDNS {
		return fmt.Errorf("%d DNS servers, at most %d can be told", len(c.DNS), maxDNS)
	}
	for _, a := range c.DNS {
		if !a.Is4() {
			return fmt.Errorf("DNS server %v is not an IPv4 address", a)
		}
	}
	return nil
}

// check says what nobody can have meant.
func (n *NodeConfig) check() error {
	switch {
	case !spec.ValidLabel(n.Name):
		return fmt.Errorf("the node's name %q: only letters, digits and -_.@+ can be in it, at most 128; say another in NodeConfig.Name", n.Name)
	case !(n.CPUOvercommit > 0) || !(n.MemoryOvercommit > 0):
		return fmt.Errorf("the node's CPUOvercommit %v and MemoryOvercommit %v must be above 0", n.CPUOvercommit, n.MemoryOvercommit)
	case n.Workers < 0 || n.Transfers < 0 || n.MaxInstances < 0 || n.MinFreeDisk < 0:
		return fmt.Errorf("the node's Workers %d, Transfers %d, MaxInstances %d and MinFreeDisk %d must not be negative", n.Workers, n.Transfers, n.MaxInstances, n.MinFreeDisk)
	case n.SessionTTL < 0 || n.SelfFence < 0:
		return fmt.Errorf("the node's SessionTTL %v and SelfFence %v must not be negative", n.SessionTTL, n.SelfFence)
	case n.RawPorts != nil && (n.RawPorts.Low < 1 || n.RawPorts.High > 65535 || n.RawPorts.High < n.RawPorts.Low):
		return fmt.Errorf("the node's RawPorts from %d to %d are no range of TCP ports", n.RawPorts.Low, n.RawPorts.High)
	}
	return nil
}

// complete fills in the defaults.
func (n *NodeConfig) complete() error {
	if n.Hypervisor == nil || n.Volumes == nil || n.Fabric == nil {
		return errors.New("a node needs a Hypervisor, Volumes and a Fabric")
	}
	if n.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		n.Name = name
	}
	if n.CPUOvercommit == 0 {
		n.CPUOvercommit = 16
	}
	if n.MemoryOvercommit == 0 {
		n.MemoryOvercommit = 1.5
	}
	if n.MaxInstances == 0 {
		n.MaxInstances = 1000
	}
	if n.MinFreeDisk == 0 {
		n.MinFreeDisk = 10 << 30
	}
	if r := n.RawPorts; r != nil {
		raw := *r
		n.RawPorts = &raw
		if raw.Low == 0 {
			raw.Low, raw.High = 30000, 50000
		}
		if !raw.Address.IsValid() {
			raw.Address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		if raw.Listen == nil {
			raw.Listen = net.Listen
		}
	}
	if n.Workers == 0 {
		n.Workers = 8
	}
	if n.Transfers == 0 {
		n.Transfers = 16
	}
	switch {
	case n.Guard == nil:
		n.SelfFence = 0
	case n.SelfFence == 0:
		n.SelfFence = time.Minute
	}
	if n.SessionTTL == 0 {
		n.SessionTTL = 15 * time.Second
	}
	if n.Guard != nil && n.SelfFence < n.SessionTTL {
		return fmt.Errorf("SelfFence is %v, less than SessionTTL, %v: an outage of the whole store would stop machines", n.SelfFence, n.SessionTTL)
	}
	return nil
}
