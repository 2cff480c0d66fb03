package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/shakenfist/cloud/dhcpd"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/spec"
)

// dhcpServer answers the DHCP of one network on this host.
type dhcpServer struct {
	server *dhcpd.Server
	conn   io.Closer
	began  time.Time
	ended  bool // its conn is gone; another is needed
}

// restart is what is known of a server that ends although it is wanted.
type restart struct {
	ended int       // times in a row
	at    time.Time // when another may be started
}

// How a server is started anew: at once where it had worked for a while, and less and
// less often where another ends as well.
const (
	steady    = time.Minute
	restartAt = 5 * time.Second // at most
)

// serverEnded notes that one ended and has another started, in its time; a.mu is held.
func (a *Agent) serverEnded(key string, began time.Time) (in time.Duration) {
	now, r := a.Clock.Now(), a.fabric.restarts[key]
	if now.Sub(began) >= steady {
		r.ended = 0
	}
	if r.ended > 0 {
		in = min(reconcile.Backoff(r.ended), restartAt)
	}
	r.ended++
	r.at = now.Add(in)
	a.fabric.restarts[key] = r
	a.vital.AddAfter(keyFabric, in)
	return in
}

// rests reports whether it is too early to start a server anew, and sees to it that
// this is done in time: whatever else had the fabric looked at took that away. a.mu is
// held.
func (a *Agent) rests(key string) bool {
	in := a.fabric.restarts[key].at.Sub(a.Clock.Now())
	if in > 0 {
		a.vital.AddAfter(keyFabric, in)
	}
	return in > 0
}

// serveDHCP makes the servers what the records want, and returns which networks
// failed. Where the fabric failed, what serves goes on: guests renew their leases
// whatever it is that could not be changed. It ends by itself with its network.
func (a *Agent) serveDHCP(ctx context.Context, w *wantedFabric, failed map[string]error) map[string]error {
	errs := map[string]error{}
	wanted := map[string]bool{}
	for _, d := range w.desired.Networks {
		n := w.networks[d.ID]
		if wanted[d.ID] = n.DHCP; !n.DHCP || failed[d.ID] != nil {
			continue
		}
		if err := a.serveNetwork(ctx, n, d, w.nics[d.ID]); err != nil {
			errs[d.ID] = fmt.Errorf("dhcp: %w", err)
		}
	}
	var ended []*dhcpServer
	a.mu.Lock()
	for _, id := range sorted(slices.Collect(maps.Keys(a.fabric.dhcp))) {
		if !wanted[id] {
			ended = append(ended, a.fabric.dhcp[id])
			delete(a.fabric.dhcp, id)
			delete(a.fabric.restarts, keyDHCP+id)
		}
	}
	a.mu.Unlock()
	for _, s := range ended { // closing waits for the fabric, and nobody should for that
		s.conn.Close()
	}
	return errs
}

// serveNetwork gives a network's server its table, starting it where it does not run.
func (a *Agent) serveNetwork(ctx context.Context, n spec.Network, d netfab.Network, nics []spec.Interface) error {
	table, err := a.leases(n, d, nics)
	if err != nil {
		return err
	}
	a.mu.Lock()
	s := a.fabric.dhcp[n.UUID]
	serves, rests := s != nil && !s.ended, a.rests(keyDHCP+n.UUID)
	a.mu.Unlock()
	if serves {
		s.server.Set(table)
	}
	if serves || rests {
		return nil
	}
	conn, err := a.Fabric.Frames(ctx, n.UUID)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // a fabric without frames, such as a simulated one
	}
	if err != nil {
		return err
	}
	s = &dhcpServer{server: dhcpd.NewServer(table, a.Logger.With("network", n.UUID)), conn: conn, began: a.Clock.Now()}
	a.mu.Lock()
	a.fabric.dhcp[n.UUID] = s
	a.mu.Unlock()
	a.spawn(keyDHCP+n.UUID, func() {
		err := s.server.Serve(ctx, conn) // ends with the agent's loops
		a.mu.Lock()
		defer a.mu.Unlock()
		s.ended = true
		if a.fabric.dhcp[n.UUID] == s && a.stays(n.UUID) && ctx.Err() == nil {
			in := a.serverEnded(keyDHCP+n.UUID, s.began)
			a.Logger.Warn("a DHCP server ended; starting another", "network", n.UUID, "in", in, "error", err)
		}
	})
	return nil
}

// leases is the DHCP table of a network's interfaces on this host.
func (a *Agent) leases(n spec.Network, d netfab.Network, nics []spec.Interface) (*dhcpd.Table, error) {
	router, err := net.ParseMAC(n.RouterMAC)
	if err != nil {
		return nil, err
	}
	network := dhcpd.Network{
		Prefix: d.Prefix, Router: d.Router.Addr, RouterMAC: router, Isolated: !n.NAT,
		Domain: a.Zone, MTU: d.MTU,
	}
	network.DNS = a.resolvers(&n)
	leases := make([]dhcpd.Lease, 0, len(nics))
	for _, nic := range nics {
		mac, err := net.ParseMAC(nic.MAC)
		if err != nil {
			return nil, err
		}
		leases = append(leases, dhcpd.Lease{MAC: mac, Addr: nic.Address, Hostname: nic.Hostname})
	}
	return dhcpd.NewTable(network, leases)
}
