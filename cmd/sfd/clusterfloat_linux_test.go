package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// floatRouted gives a guest a floating address, which the world routes to the edge.
func (c *cluster) floatRouted(ctx context.Context) {
	if err := c.nodes[0].client.Float(ctx, c.nodes[1].nic); err != nil {
		c.Fatal(err)
	}
	c.floats(ctx, c.underlay)
}

// floatL2 restarts all daemons with the floating network on the office's segment.
func (c *cluster) floatL2(ctx context.Context) {
	for _, n := range c.nodes {
		n.stop()
		n.outside = []string{"--floating-mode", "l2", "--node-egress-nic", "seg0"}
		c.startNode(n)
	}
	c.floats(ctx, c.office)
	for _, n := range c.nodes {
		c.reachable(ctx, n) // the world is beyond the office now
	}
}

// floats sees that a floating address is reached: from the world, from the guest
// that has it, and from another.
func (c *cluster) floats(ctx context.Context, world *os.File) {
	c.Helper()
	owner := c.nodes[1]
	nic, err := c.nodes[0].client.Interface(ctx, owner.nic)
	if err != nil || !nic.Floating.IsValid() {
		c.Fatalf("the floating address: %+v, %v", nic, err)
	}
	c.soon(ctx, "the floating address answers the world", func() error { return echo(world, nic.Floating, time.Second) })
	for _, from := range []*clusterNode{owner, c.nodes[2]} {
		c.soon(ctx, "the floating address answers the guest of "+from.name, func() error { return from.ping(ctx, nic.Floating.String()) })
	}
}

// echo pings an address once from a namespace, and waits for the reply.
func echo(ns *os.File, to netip.Addr, wait time.Duration) error {
	var conn *icmp.PacketConn
	err := in(ns, func() (err error) {
		conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	id := os.Getpid() & 0xffff
	request := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: 1, Data: []byte("floating")}}
	packet, err := request.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return err
	}
	conn.SetReadDeadline(time.Now().Add(wait))
	for buf := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no reply from %s", to)
		}
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(1, buf[:n]) // 1 is ICMP for IPv4
		if err == nil && m.Type == ipv4.ICMPTypeEchoReply && from.String() == to.String() {
			return nil
		}
	}
}
