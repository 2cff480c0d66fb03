package node

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/shakenfist/cloud/dhcpd/dns"
	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf/spec"
)

// nameServer answers the DNS of one network's guests on this host.
type nameServer struct {
	server *dns.Server
	conns  []io.Closer
	began  time.Time
	ended  bool // another is needed
}

func (s *nameServer) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

// servesNames reports whether guests are told to ask us.
func (a *Agent) servesNames() bool {
	_, ok := netfab.As[netfab.Listener](a.Fabric)
	return ok && a.Names
}

// resolvers are what the guests of a network are told.
func (a *Agent) resolvers(n *spec.Network) []netip.Addr {
	switch {
	case a.servesNames():
		return []netip.Addr{n.Router()}
	case n.NAT:
		return a.DNS
	}
	return nil // nobody could be reached
}

// serveNames makes the name servers what the records want, and returns which
// networks failed. Like DHCP they go on where the fabric failed.
func (a *Agent) serveNames(ctx context.Context, w *wantedFabric, failed map[string]error) map[string]error {
	errs := map[string]error{}
	wanted := map[string]bool{}
	for _, d := range w.desired.Networks {
		if wanted[d.ID] = d.DNS; !d.DNS || failed[d.ID] != nil {
			continue
		}
		if err := a.serveNamesOf(ctx, w.networks[d.ID], w.names[d.ID]); err != nil {
			errs[d.ID] = fmt.Errorf("dns: %w", err)
		}
	}
	var ended []*nameServer
	a.mu.Lock()
	for _, id := range sorted(slices.Collect(maps.Keys(a.fabric.names))) {
		if !wanted[id] {
			ended = append(ended, a.fabric.names[id])
			delete(a.fabric.names, id)
			delete(a.fabric.restarts, keyDNS+id)
		}
	}
	a.mu.Unlock()
	for _, s := range ended {
		s.close()
	}
	return errs
}

// serveNamesOf gives a network's server its table, starting it where it does not run.
func (a *Agent) serveNamesOf(ctx context.Context, n spec.Network, hosts []dns.Host) error {
	table := dns.NewTable(dns.Network{Name: n.Name, Zone: a.Zone, Prefix: n.Prefix()}, hosts)
	a.mu.Lock()
	s := a.fabric.names[n.UUID]
	serves, rests := s != nil && !s.ended, a.rests(keyDNS+n.UUID)
	a.mu.Unlock()
	if serves {
		s.server.Set(table)
	}
	if serves || rests {
		return nil
	}
	fabric, _ := netfab.As[netfab.Listener](a.Fabric)
	packets, streams, err := fabric.Listen(ctx, n.UUID)
	if err != nil {
		return err
	}
	cfg := dns.Config{
		Go: func(f func()) { a.spawn(keyDNS+n.UUID, f) }, Rand: a.Rand, Now: a.Clock.Now, Logger: a.Logger.With("network", n.UUID),
	}
	if n.NAT { // others have no way to the world, by whatever means
		for _, addr := range a.DNS {
			cfg.Upstreams = append(cfg.Upstreams, netip.AddrPortFrom(addr, 53))
		}
	}
	s = &nameServer{server: dns.NewServer(cfg, table), conns: []io.Closer{packets, streams}, began: a.Clock.Now()}
	serving, stop := context.WithCancel(ctx) // conversations end with the server
	a.mu.Lock()
	a.fabric.names[n.UUID] = s
	a.mu.Unlock()
	serve := func(name string, loop func() error) {
		a.spawn(name+"/"+n.UUID, func() {
			err := loop() // ends with the agent's loops
			stop()
			s.close() // ends the other loop
			a.mu.Lock()
			defer a.mu.Unlock()
			first := !s.ended
			s.ended = true
			if first && a.fabric.names[n.UUID] == s && a.stays(n.UUID) && ctx.Err() == nil {
				in := a.serverEnded(keyDNS+n.UUID, s.began)
				a.Logger.Warn("a name server ended; starting another", "network", n.UUID, "in", in, "error", err)
			}
		})
	}
	serve("dns-udp", func() error { return s.server.ServeUDP(serving, packets) })
	serve("dns-tcp", func() error { return s.server.ServeTCP(serving, streams) })
	return nil
}
