//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// pingFrom pings an address from inside the one namespace that has a name in a
// directory: the network's, where its router is.
func pingFrom(ctx context.Context, names string, to netip.Addr, times int) error {
	found, err := filepath.Glob(filepath.Join(names, "*"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d namespaces in %s, want the network's alone: %w", len(found), names, err)
	}
	fmt.Printf("(sent by this program; by hand: nsenter --net=%s ping %s)\n", found[0], to)
	conn, err := icmpIn(found[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	for seq := 1; seq <= times; seq++ {
		took, err := echo(ctx, conn, to, seq)
		if err != nil {
			return fmt.Errorf("ping %s: %w", to, err)
		}
		fmt.Printf("reply from %s: seq=%d time=%.2f ms\n", to, seq, float64(took.Microseconds())/1000)
	}
	return nil
}

// icmpIn opens an ICMP socket in a namespace. A socket stays where it was made,
// whoever uses it.
func icmpIn(namespace string) (conn *icmp.PacketConn, err error) {
	ns, err := os.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter %s: %w", namespace, err)
			return
		}
		conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	}()
	<-done
	return conn, err
}

// echo sends one request, again every second until it is answered: the first has
// to wait for ARP.
func echo(ctx context.Context, conn *icmp.PacketConn, to netip.Addr, seq int) (time.Duration, error) {
	id := os.Getpid() & 0xffff
	request := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte("shaken fist")}}
	packet, err := request.Marshal(nil)
	if err != nil {
		return 0, err
	}
	for range 10 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		start := time.Now()
		if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return 0, err
		}
		if err := conn.SetReadDeadline(start.Add(time.Second)); err != nil {
			return 0, err
		}
		switch err := reply(conn, to, id, seq); {
		case err == nil:
			return time.Since(start), nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		}
	}
	return 0, errors.New("no reply")
}

// reply reads until the answer to a request.
func reply(conn *icmp.PacketConn, from netip.Addr, id, seq int) error {
	buf := make([]byte, 1500)
	for {
		n, peer, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(1, buf[:n]) // 1 is ICMP for IPv4
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply || peer.String() != from.String() {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == id && e.Seq == seq {
			return nil
		}
	}
}
