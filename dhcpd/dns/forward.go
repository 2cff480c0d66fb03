package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// patience is how long an upstream server may take.
const patience = 2 * time.Second

// forward asks the upstream servers in turn, each over a socket of its own with a
// port that nobody can foresee, and an ID as well.
func (s *Server) forward(ctx context.Context, network string, query []byte) ([]byte, error) {
	if len(s.cfg.Upstreams) == 0 {
		return nil, errors.New("there are no upstream servers")
	}
	asked := append([]byte(nil), query...)
	if _, err := io.ReadFull(s.cfg.Rand, asked[:2]); err != nil {
		return nil, err
	}
	var errs []error
	for _, server := range s.cfg.Upstreams {
		reply, err := exchange(ctx, network, server, asked)
		if err == nil {
			copy(reply[:2], query[:2])
			return reply, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
	}
	return nil, errors.Join(errs...)
}

func exchange(ctx context.Context, network string, server netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if network == "tcp" {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		reply, err := readMessage(conn)
		if err == nil && !answers(query, reply) {
			err = errors.New("the reply is to something else")
		}
		return reply, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<14) // more is said by TCP
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(query, buf[:n]) { // else somebody guesses: go on waiting
			return buf[:n], nil
		}
	}
}

// readMessage reads a message as TCP carries it: its length first.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeMessage(w io.Writer, message []byte) error {
	if len(message) > 1<<16-1 {
		return fmt.Errorf("message of %d bytes", len(message))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}

// Upstreams reads the servers out of a resolv.conf, with port 53.
func Upstreams(resolvConf string) (servers []netip.AddrPort) {
	for _, line := range strings.Split(resolvConf, "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(f[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53))
		}
	}
	return servers
}
