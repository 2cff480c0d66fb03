package sf

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/measure"
	"github.com/shakenfist/cloud/sf/internal/node"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Cloud is a cloud over a store. Its methods are safe for concurrent use.
//
// Every method fails with ctx's error when ctx is done. A method that records
// something has done so when it returns nil; one that was interrupted may have.
type Cloud struct {
	cfg     Config
	id      string
	records *record.Client
	store   *measure.Store // the configured one, counted
	agent   *node.Agent    // nil without a node
	log     *slog.Logger
	keys    keyring
	sights  sightings
	spare   atomic.Pointer[roster] // for who reads one next; nil while there is none

	// placing serializes placements of this process, which would otherwise only
	// collide with each other over the nodes' ledgers.
	placing chan struct{}

	randMu sync.Mutex
}

// Open opens the cloud in a store, founding it where there is none, and where
// cfg has a node starts running instances on this host.
func Open(ctx context.Context, cfg Config) (*Cloud, error) {
	if cfg.Store == nil {
		return nil, errors.New("sf: Config.Store is required")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("sf: %w", err)
	}
	c := &Cloud{cfg: cfg, log: cfg.Logger, placing: make(chan struct{}, 1)}
	c.placing <- struct{}{}
	c.keys.init()
	c.store = measure.NewStore(cfg.Store, cfg.Clock.Now)
	c.records = record.New(c.store, c.newUUID)
	if err := c.found(ctx); err != nil {
		return nil, fmt.Errorf("sf: open the cloud: %w", err)
	}
	if cfg.Node == nil {
		return c, nil
	}
	c.agent, err = node.Start(ctx, node.Config{
		Name: cfg.Node.Name, Records: c.records,
		Hypervisor: cfg.Node.Hypervisor, Volumes: cfg.Node.Volumes, Fabric: cfg.Node.Fabric,
		Address: cfg.Node.Address, Uplink: cfg.Node.Uplink, Outside: cfg.Node.Outside,
		CPUOvercommit: cfg.Node.CPUOvercommit, MemoryOvercommit: cfg.Node.MemoryOvercommit,
		ReservedMemoryMiB: cfg.Node.ReservedMemoryMiB, MaxInstances: cfg.Node.MaxInstances, MinFreeDisk: cfg.Node.MinFreeDisk,
		Workers: cfg.Node.Workers, Transfers: cfg.Node.Transfers, SessionTTL: cfg.Node.SessionTTL, Version: cfg.Node.Version,
		DNS: cfg.DNS, Names: !cfg.NoNames, Rand: chance{c}, Zone: cfg.Zone, DiskBus: cfg.DiskBus, Keep: cfg.DeletedFor,
		Guard: cfg.Node.Guard, SelfFence: cfg.Node.SelfFence, MTU: cfg.Node.MTU, Peers: cfg.Node.Peers,
		Endpoint: cfg.Node.Endpoint, EndpointKey: cfg.Node.EndpointKey,
		Raw: cfg.Node.RawPorts, Intn: c.intn,
		Clock: cfg.Clock, Go: cfg.Go, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("sf: start node %s: %w", cfg.Node.Name, err)
	}
	return c, nil
}

// Close stops the cloud's loops and lets go of the host; running instances run
// on. The store, hypervisor, volumes and fabric stay open. Closing twice is nil.
func (c *Cloud) Close() error {
	if c.agent == nil {
		return nil
	}
	return c.agent.Close()
}

// Renewing reports whether this process's node reaches the store: the answer that
// Peers of other nodes ask for.
func (c *Cloud) Renewing() bool { return c.agent != nil && c.agent.Renewing() }

// ID is a UUID made when the cloud was founded.
func (c *Cloud) ID() string { return c.id }

// Config returns the configuration with its defaults filled in.
func (c *Cloud) Config() Config { return c.cfg }

// identity is the record of the cloud itself.
type identity struct {
	ID string `json:"id"`
}

// found makes the records that every cloud has: its identity, the system
// namespace and the floating network.
func (c *Cloud) found(ctx context.Context) error {
	now := c.cfg.Clock.Now()
	me, err := record.Get[identity](ctx, c.records, record.CloudKey())
	if errors.Is(err, store.ErrNotFound) {
		me.Value.ID = c.newUUID()
		block := c.cfg.FloatingNetwork
		if !block.IsValid() {
			block = netip.MustParsePrefix("192.168.20.0/24")
		}
		t := c.records.Begin().Create(record.CloudKey(), me.Value)
		t.Create(record.NamespaceKey(System), spec.Namespace{Name: System, Created: now})
		t.Create(record.NetworkKey(FloatingNetwork), spec.Network{
			UUID: FloatingNetwork, Created: now,
			NetworkSpec: spec.NetworkSpec{Name: FloatingNetwork, Netblock: block.String()},
		})
		t.Create(record.NetworkStatusKey(FloatingNetwork), spec.NetworkStatus{State: StateInitial, Since: now})
		if _, err = c.records.Commit(ctx, t); errors.Is(err, store.ErrConflict) {
			return c.found(ctx) // another process founded it
		}
	}
	if err != nil {
		return err
	}
	c.id = me.Value.ID
	return c.refloat(ctx)
}

// refloat moves the floating network to a newly configured block.
func (c *Cloud) refloat(ctx context.Context) error {
	if !c.cfg.FloatingNetwork.IsValid() {
		return nil
	}
	block, err := spec.ParseNetblock(c.cfg.FloatingNetwork.String())
	if err != nil {
		return fmt.Errorf("floating network: %w", err)
	}
	return record.Retry(ctx, func() error { return c.moveFloating(ctx, block) })
}

func (c *Cloud) moveFloating(ctx context.Context, block netip.Prefix) error {
	_, err := record.Update(ctx, c.records, record.NetworkKey(FloatingNetwork), func(n *spec.Network, t *record.Txn) error {
		if n.Netblock == block.String() {
			return record.ErrUnchanged
		}
		used, _, _, err := record.List[claims.Address](ctx, c.records, record.AddressPrefix(FloatingNetwork), store.Page{})
		if err != nil {
			return err
		}
		for _, a := range used {
			if a.Value.Rested.IsZero() {
				return fmt.Errorf("the floating network is %s and %s of it is in use: it cannot become %s", n.Netblock, record.Base(a.Key), block)
			}
			if _, err := c.records.Commit(ctx, c.records.Begin().If(store.RevisionIs(a.Key, a.Revision)).Delete(a.Key)); err != nil {
				return err
			}
		}
		n.Netblock = block.String()
		t.If(store.PrefixEmpty(record.AddressPrefix(FloatingNetwork))) // one may be claimed just now
		return nil
	})
	return err
}

// random fills p from the configured source.
func (c *Cloud) random(p []byte) {
	c.randMu.Lock()
	defer c.randMu.Unlock()
	if _, err := io.ReadFull(c.cfg.Rand, p); err != nil {
		panic("sf: the random source failed: " + err.Error()) // nothing safe can be done without
	}
}

// chance is random as a Reader.
type chance struct{ c *Cloud }

func (r chance) Read(p []byte) (int, error) {
	r.c.random(p)
	return len(p), nil
}

// intn returns a number from 0 to n-1.
func (c *Cloud) intn(n int) int {
	var b [8]byte
	c.random(b[:])
	return int(binary.BigEndian.Uint64(b[:]) % uint64(n))
}

// newUUID returns a random (version 4) UUID.
func (c *Cloud) newUUID() string {
	var b [16]byte
	c.random(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
