//go:build linux

package linux

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

var _ netfab.Listener = (*Fabric)(nil)

// A DNS server is at the router's address on each host. Where the router is
// elsewhere the loopback device has that address, which is then nobody's on the
// bridge: ARP for it goes on being answered with the router's MAC, and only what
// the filter turns to this host arrives here. Where there is no router anywhere
// the bridge has it, and its MAC, and the filter drops all else.

// stub is the address that a DNS server has where no router is, by device.
func stub(n *netfab.Network) (lo, bridge []netip.Prefix) {
	at := []netip.Prefix{netip.PrefixFrom(n.Router.Addr, 32)}
	switch {
	case !n.DNS || n.Gateway != nil:
		return nil, nil
	case n.Isolated:
		return nil, at
	}
	return at, nil
}

// setStub makes it so, with the way back to guests. A route goes with the address
// that it is from. The bridge of a network with a router here is not touched.
func (r *room) setStub(n *netfab.Network) error {
	todo, err := r.misplaced(n)
	if err != nil || len(todo) == 0 {
		return err
	}
	return r.links("set the place of the DNS server", todo...)
}

// misplaced returns what is to be done about the DNS server's place.
func (r *room) misplaced(n *netfab.Network) ([]rt.Request, error) {
	links, err := r.rt.Links()
	if err != nil {
		return nil, err
	}
	addrs, err := r.rt.Addrs()
	if err != nil {
		return nil, err
	}
	onLo, onBridge := stub(n)
	lo, bridge := links["lo"].Index, links[bridgeName].Index
	todo := onlyAddrs(lo, notLoopback(addrs[lo]), onLo...)
	if n.Gateway == nil {
		todo = append(todo, onlyAddrs(bridge, addrs[bridge], onBridge...)...)
	}
	if len(onLo)+len(onBridge) == 0 {
		return todo, nil
	}
	there, err := r.rt.Direct(n.Prefix, bridge, n.Router.Addr)
	if err == nil && !there {
		todo = append(todo, rt.AddDirect(n.Prefix, bridge, n.Router.Addr))
	}
	return todo, err
}

func notLoopback(prefixes []netip.Prefix) (others []netip.Prefix) {
	for _, p := range prefixes {
		if !p.Addr().IsLoopback() {
			others = append(others, p)
		}
	}
	return others
}

// stub checks the place of the DNS server.
func (v *view) stub(r *room) error {
	todo, err := r.misplaced(&v.network)
	if err == nil && len(todo) > 0 {
		v.damaged("the DNS server is not where it should be")
	}
	return err
}

// Listen opens UDP and TCP port 53 at the router's address.
func (f *Fabric) Listen(ctx context.Context, networkID string) (net.PacketConn, net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	k, err := f.find(networkID)
	if err == nil && !k.network.DNS {
		err = fmt.Errorf("%w: %s has no DNS", netfab.ErrNotFound, networkID)
	}
	if err != nil {
		return nil, nil, err
	}
	ns, err := netns.Open(f.path(k.network.VNI))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", netfab.ErrNotFound, networkID, err)
	}
	defer ns.Close()
	var packets net.PacketConn
	var conns net.Listener
	err = ns.Do(func() (err error) {
		at := netip.AddrPortFrom(k.network.Router.Addr, 53).String()
		var cfg net.ListenConfig
		cfg.SetMultipathTCP(false)
		room := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return c.Control(func(fd uintptr) { roomy(int(fd)) }) }}
		if packets, err = room.ListenPacket(ctx, "udp4", at); err != nil {
			return err
		}
		if conns, err = cfg.Listen(ctx, "tcp4", at); err != nil {
			packets.Close()
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("DNS of network %s: %w", networkID, err)
	}
	one := heldPackets{packets, f.hold(networkID, k.ns, packets.Close)}
	two := heldConns{conns, f.hold(networkID, k.ns, conns.Close)}
	return one, two, nil
}

// heldPackets and heldConns are let go of when they are closed.
type heldPackets struct {
	net.PacketConn
	held *held
}

func (h heldPackets) Close() error { return h.held.release() }

type heldConns struct {
	net.Listener
	held *held
}

func (h heldConns) Close() error { return h.held.release() }
