//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
)

var _ netfab.Keeper = (*Fabric)(nil)

// The fence is a dead-man's switch in the kernel: frames pass between the outside
// segment and its ports of ours, each router's leg and the way to other hosts,
// while their Ethernet type is in a set whose elements age. It judges each
// frame by itself, so it stops ARP and connections that exist as well.

// aliveSet holds the Ethernet types that pass.
var aliveSet = nft.Set{Name: "alive", Key: nftables.TypeEtherType, Ages: true}

// aliveTypes are IPv4 and ARP; nothing else has business outside.
var aliveTypes = []string{"\x08\x00", "\x08\x06"}

// fenceTable is the bridge table of the host with the fence.
func fenceTable(n names) nft.Table {
	dead := nft.Join(nft.EtherType(), nft.NotInSet(aliveSet.Name), nft.Drop())
	return nft.Table{
		Family: nftables.TableFamilyBridge, Name: n.table(), Sets: []nft.Set{aliveSet},
		Chains: []nft.Chain{
			{Name: "prerouting", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting, Priority: -300,
				Rules: []nft.Rule{nft.Join(nft.InPrefix(n.fenced()), dead)}},
			{Name: "postrouting", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPostrouting, Priority: 300,
				Rules: []nft.Rule{nft.Join(nft.OutPrefix(n.fenced()), dead)}},
		},
	}
}

// edgeFence is the ARP table of the host with which the edge's address outside
// the segment is fenced: the world hears of it while ARP is in the set.
func edgeFence(n names, o netfab.Outside) nft.Table {
	return nft.Table{
		Family: nftables.TableFamilyARP, Name: n.table(), Sets: []nft.Set{aliveSet},
		Chains: []nft.Chain{{Name: "output", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookRef(arpOut), Rules: []nft.Rule{
			nft.Join(nft.Out(o.Uplink), nft.Is(nft.Network, arpAddr, o.EdgeAddr.Addr().AsSlice()...),
				nft.EtherType(), nft.NotInSet(aliveSet.Name), nft.Drop()),
		}}},
	}
}

// arpOut is the hook of ARP that is sent, NF_ARP_OUT of linux/netfilter_arp.h.
const arpOut = 1

// fenceTables are the tables that an outside may need, and which of them it does.
func fenceTables(n names, o netfab.Outside) (tables []nft.Table, wanted []bool) {
	edge := o.Fenced && o.Edge && o.EdgeAddr.IsValid()
	return []nft.Table{fenceTable(n), edgeFence(n, o)}, []bool{o.Fenced, edge}
}

// fence is what Keep works on. Its lock is its own: an Apply may take long.
type fence struct {
	mu    sync.Mutex
	conn  *nft.Conn // of the host; opened when needed
	until time.Time
}

// Keep lets fenced routers work for d.
func (f *Fabric) Keep(ctx context.Context, d time.Duration) error {
	until := f.now().Add(d)
	if err := ctx.Err(); err != nil {
		return err
	}
	f.fence.mu.Lock()
	defer f.fence.mu.Unlock()
	f.fence.until = until
	return f.arm()
}

// arm tells the kernel how long is left; the caller holds the fence's lock.
func (f *Fabric) arm() error {
	if f.fence.conn == nil {
		conn, err := nft.Dial(f.host.Fd(), f.names.mark())
		if err != nil {
			return err
		}
		f.fence.conn = conn
	}
	var alive []nft.Element
	if left := f.fence.until.Sub(f.now()).Truncate(time.Millisecond); left > 0 {
		for _, t := range aliveTypes {
			alive = append(alive, nft.Element{Key: t, Timeout: left})
		}
	}
	tables, _ := fenceTables(f.names, netfab.Outside{})
	for _, t := range tables {
		err := f.fence.conn.Refill(t, aliveSet, alive)
		if err != nil && !errors.Is(err, unix.ENOENT) { // no table: nothing of it is fenced
			f.fence.conn.Close() // what is still to be read of it is unknown
			f.fence.conn = nil
			return fmt.Errorf("keep the routers of this host: %w", err)
		}
	}
	return nil
}

// setFence makes the fence, or removes it, as an outside wants it.
func (a *apply) setFence(conn *nft.Conn, o netfab.Outside) error {
	tables, wanted := fenceTables(a.names, o)
	for i, table := range tables {
		exists, ours, err := conn.Owned(table.Family, table.Name)
		if err != nil {
			return err
		}
		switch {
		case exists && !ours:
			return a.foreignTable(familyName[table.Family])
		case !exists && !wanted[i]:
			continue
		}
		if err := a.hook("set the fence"); err != nil {
			return err
		}
		if !wanted[i] {
			if err := conn.Delete(table.Family, table.Name); err != nil {
				return err
			}
			continue
		}
		if err := conn.Build(table); err != nil {
			return err
		}
	}
	a.fence.mu.Lock()
	defer a.fence.mu.Unlock()
	if !o.Fenced || a.fence.until.IsZero() { // what an earlier process said holds
		return nil
	}
	return a.arm()
}

// checkFence tells what is wrong with the fence, or "".
func (a *apply) checkFence(conn *nft.Conn, o netfab.Outside) (string, error) {
	tables, wanted := fenceTables(a.names, o)
	for i, table := range tables {
		if wanted[i] {
			if wrong, err := conn.Check(table); wrong != "" || err != nil {
				return wrong, err
			}
			continue
		}
		exists, ours, err := conn.Owned(table.Family, table.Name)
		if err != nil {
			return "", err
		}
		if exists && ours {
			return fmt.Sprintf("table %s %s is there", familyName[table.Family], table.Name), nil
		}
	}
	return "", nil
}

var familyName = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet", nftables.TableFamilyBridge: "bridge", nftables.TableFamilyARP: "arp", nftables.TableFamilyIPv4: "ip",
}

// foreignTable is the error of a table with our name that is not ours.
func (a *apply) foreignTable(family string) error {
	return fmt.Errorf("%w: nftables table %s %s has rules without the mark of %q: remove it or run with another tag",
		netfab.ErrForeign, family, a.names.table(), a.names.tag)
}
