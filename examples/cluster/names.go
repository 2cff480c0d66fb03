//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/shakenfist/cloud/dhcpd/dns"
)

// serveNames answers in the world what the nodes' name servers do not know.
func (p *plan) serveNames(ctx context.Context) error {
	var packets net.PacketConn
	var streams net.Listener
	err := inside(p.world(), func() (err error) {
		if packets, err = net.ListenPacket("udp", gateway+":53"); err == nil {
			streams, err = net.Listen("tcp", gateway+":53")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("serve the world's names: %w", err)
	}
	table := dns.NewTable(dns.Network{Zone: worldZone}, []dns.Host{{Name: worldHost, Addr: netip.MustParseAddr(beyond)}})
	server := dns.NewServer(dns.Config{}, table)
	go server.ServeUDP(ctx, packets) // until the end of this process
	go server.ServeTCP(ctx, streams)
	return nil
}
