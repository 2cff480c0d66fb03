//go:build linux

// Package rt changes and lists links, addresses, routes and forwarding entries
// of one network namespace. Changes are values that are sent in batches: a batch
// is one system call, so the death of the process cannot cut it in two.
//
// Messages are those of jsimonetti/rtnetlink where it has them, with link
// drivers of our own given to its encoder directly: its global registry is not
// touched. What it lacks is encoded here.
package rt

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn talks to the kernel about one namespace. It is not safe for concurrent use.
type Conn struct {
	nl *netlink.Conn
}

// Dial opens a connection to the namespace of that file descriptor, which may
// be closed afterwards.
func Dial(nsFd int) (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: nsFd, Strict: true, MessageBufferSize: 1 << 16})
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &Conn{nl: nl}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nl.Close() }

// Request is one change, and how to say it in an error.
type Request struct {
	what string
	msg  netlink.Message
	err  error // of encoding
	// tolerate is an errno that counts as done (deleting what is gone).
	tolerate unix.Errno
}

// batchSize stays well below the 256 acknowledgements that a socket's default
// receive buffer holds.
const batchSize = 100

// Do sends requests in order, in as few system calls as possible. All are tried;
// the error is that of the first which failed.
func (c *Conn) Do(requests ...Request) error {
	var first error
	for len(requests) > 0 {
		n := min(len(requests), batchSize)
		if err := c.batch(requests[:n]); err != nil && first == nil {
			first = err
		}
		requests = requests[n:]
	}
	return first
}

func (c *Conn) batch(requests []Request) error {
	msgs := make([]netlink.Message, len(requests))
	for i, r := range requests {
		if r.err != nil {
			return fmt.Errorf("%s: %w", r.what, r.err)
		}
		msgs[i] = r.msg
	}
	if _, err := c.nl.SendMessages(msgs); err != nil {
		return fmt.Errorf("%s: %w", requests[0].what, err)
	}
	var first error
	for _, r := range requests { // acknowledgements come in order, one each
		_, err := c.nl.Receive()
		if r.tolerate != 0 && errors.Is(err, r.tolerate) {
			continue
		}
		if err != nil && first == nil {
			first = fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return first
}

// dump lists what the kernel has, again if it changed meanwhile.
func (c *Conn) dump(typ uint16, header []byte) ([]netlink.Message, error) {
	const tries = 10
	for range tries {
		msgs, err := c.nl.Execute(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request | netlink.Dump},
			Data:   header,
		})
		if err != nil {
			return nil, err
		}
		if !interrupted(msgs) {
			return msgs, nil
		}
	}
	return nil, fmt.Errorf("the kernel's tables changed during each of %d listings", tries)
}

func interrupted(msgs []netlink.Message) bool {
	for _, m := range msgs {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

// request makes a Request of an rtnetlink message's bytes and more attributes.
func request(what string, typ uint16, flags netlink.HeaderFlags, body []byte, err error, more ...netlink.Attribute) Request {
	if err == nil && len(more) > 0 {
		var extra []byte
		extra, err = netlink.MarshalAttributes(more)
		body = append(body, extra...)
	}
	return Request{what: what, err: err, msg: netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   body,
	}}
}
