package dhcpd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// receiveBuffer in bytes holds a burst of about a thousand requests: a host full
// of guests that boot at once.
const receiveBuffer = 1 << 20

// Listen opens the DHCP requests that arrive on an interface, a bridge for
// instance, of the network namespace of the calling thread. The interface needs
// no address. Each Read returns one Ethernet frame with an IPv4 datagram for UDP
// port 67, each Write sends one frame. Read returns io.EOF when the interface is
// removed, and waits while it is down. It needs CAP_NET_RAW.
//
// The interface has to take in frames for the network's router, or renewals, which
// are unicast, are answered only once clients broadcast them: give a bridge the
// [Network]'s RouterMAC as its address, or direct udp/67 to it at its ports.
//
// To listen in another namespace, call it in a goroutine that has locked its
// thread and moved it there; the conn may then be used anywhere.
func Listen(ifindex int) (io.ReadWriteCloser, error) {
	if ifindex <= 0 { // to the kernel, 0 means every interface
		return nil, fmt.Errorf("dhcpd: packet socket on interface %d: %w", ifindex, os.ErrInvalid)
	}
	// Protocol 0 receives nothing until the filter is in place and Bind names one.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: packet socket: %w", err)
	}
	if err := prepare(fd, ifindex); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("dhcpd: packet socket on interface %d: %w", ifindex, err)
	}
	return &packetConn{os.NewFile(uintptr(fd), fmt.Sprintf("dhcp packets of interface %d", ifindex))}, nil
}

func prepare(fd, ifindex int) error {
	if err := attachFilter(fd); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	// Forcing exceeds the system's limit and takes CAP_NET_ADMIN; without it the
	// buffer is smaller and a very large burst takes its clients' retries.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// attachFilter has the kernel pass unfragmented IPv4 UDP to port 67 only. What this
// host sends never reaches a socket bound to one protocol.
func attachFilter(fd int) error {
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 7},
		bpf.LoadAbsolute{Off: ethernetLen + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 5},
		bpf.LoadAbsolute{Off: ethernetLen + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 3},
		bpf.LoadMemShift{Off: ethernetLen},
		bpf.LoadIndirect{Off: ethernetLen + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: serverPort, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: maxFrame},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// bigEndian returns v such that it lies in memory in network byte order.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// packetConn is a packet socket that tells an interface's removal from its being
// down. The kernel reports both in the same words, and removal in two steps of
// which only the first wakes a reader.
type packetConn struct{ *os.File }

// whileDown is how often a reader looks whether its interface still exists, from
// the time that it went down until the next frame.
const whileDown = time.Second

func (c *packetConn) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	if err == nil || !errors.Is(err, unix.ENETDOWN) {
		return n, err
	}
	for {
		gone, goneErr := c.gone()
		if goneErr != nil {
			return 0, goneErr
		}
		if gone {
			return 0, io.EOF
		}
		if err := c.SetReadDeadline(time.Now().Add(whileDown)); err != nil {
			return 0, err
		}
		n, err := c.File.Read(b)
		if errors.Is(err, unix.ENETDOWN) || errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		_ = c.SetReadDeadline(time.Time{})
		return n, err
	}
}

// gone reports whether the socket's interface was removed, upon which the kernel
// unbinds the socket.
func (c *packetConn) gone() (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var addr unix.Sockaddr
	var nameErr error
	if err := raw.Control(func(fd uintptr) { addr, nameErr = unix.Getsockname(int(fd)) }); err != nil {
		return false, err
	}
	link, ok := addr.(*unix.SockaddrLinklayer)
	return ok && link.Ifindex <= 0, nameErr
}
