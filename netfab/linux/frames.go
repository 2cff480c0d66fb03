//go:build linux

package linux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
)

// frames is an open packet socket on a network's bridge.
type frames struct {
	file *os.File
	held *held
	// What guests send to a router that is elsewhere the filter turns to this host's
	// end of the network; whoever reads is to see to whom it was sent.
	turned, router net.HardwareAddr
}

// held is something open in a network's namespace, which must end with the
// network: it would keep the namespace alive.
type held struct {
	close  func() error
	ns     uint64
	bridge bool // it is bound to the bridge
	fabric *Fabric
	id     string
}

// hold notes something open. The fabric's lock is held.
func (f *Fabric) hold(id string, ns uint64, end func() error) *held {
	h := &held{close: end, ns: ns, fabric: f, id: id}
	if f.open[id] == nil {
		f.open[id] = map[*held]bool{}
	}
	f.open[id][h] = true
	return h
}

// release closes it.
func (h *held) release() error {
	h.fabric.mu.Lock()
	defer h.fabric.mu.Unlock()
	delete(h.fabric.open[h.id], h)
	return h.close()
}

// Frames opens the DHCP traffic of a network. What is read is what guests sent
// to UDP port 67, by broadcast or to the router; what is written leaves by the
// bridge, towards the guests. One Read returns one frame: give it 64 KiB.
func (f *Fabric) Frames(ctx context.Context, networkID string) (io.ReadWriteCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k, err := f.find(networkID)
	if err != nil {
		return nil, err
	}
	path := f.path(k.network.VNI)
	ns, err := netns.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", netfab.ErrNotFound, networkID, err)
	}
	defer ns.Close()
	var fd int
	if err := ns.Do(func() error { fd, err = packetSocket(bridgeName); return err }); err != nil {
		return nil, fmt.Errorf("DHCP traffic of network %s: %w", networkID, err)
	}
	file := os.NewFile(uintptr(fd), "dhcp "+networkID)
	h := f.hold(networkID, k.ns, file.Close)
	h.bridge = true
	return &frames{
		file: file, held: h,
		turned: endMAC(networkID), router: mac(k.network.Router.MAC),
	}, nil
}

// find returns what is known of a network, after a look at the host if need be.
func (f *Fabric) find(networkID string) (known, error) {
	if k, ok := f.known[networkID]; ok {
		return k, nil
	}
	a, err := f.begin(netfab.Underlay{})
	if err != nil {
		return known{}, err
	}
	defer a.close()
	if _, err := a.observe(); err != nil {
		return known{}, err
	}
	if k, ok := f.known[networkID]; ok {
		return k, nil
	}
	return known{}, fmt.Errorf("%w: %s", netfab.ErrNotFound, networkID)
}

// packetSocket opens a non-blocking packet socket that gets DHCP requests only,
// from its first packet on: it is bound after it has its filter.
func packetSocket(device string) (int, error) {
	index, err := ifIndex(device)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("packet socket: %w", err)
	}
	if err := bindPacket(fd, int(index)); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("packet socket on %s: %w", device, err)
	}
	return fd, nil
}

func bindPacket(fd, index int) error {
	program, err := bpf.Assemble(dhcpRequests)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	roomy(fd)
	// Our own answers are of no interest.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: index})
}

// burst in bytes holds what several guests may send at once (see dhcpBurst and dnsBurst):
// who comes after one that sends all of it is not to find the socket full.
const burst = 2 << 20

// roomy makes a socket's buffer for what is received so large, or what the system allows.
func roomy(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, burst) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, burst)
	}
}

// dhcpRequests passes IPv4 packets, not fragments but the first, to UDP port 67.
var dhcpRequests = []bpf.Instruction{
	bpf.LoadAbsolute{Off: etherType, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 8},
	bpf.LoadAbsolute{Off: 14 + ipProto, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 14 + 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 14},
	bpf.LoadIndirect{Off: 14 + dport, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 67, SkipTrue: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// Read waits for a frame.
func (s *frames) Read(b []byte) (int, error) {
	n, err := s.file.Read(b)
	for errors.Is(err, unix.ENETDOWN) {
		// The kernel says so once, and goes on with this socket when the bridge is up. One
		// that was removed comes back as another, and then endFrames closes the file.
		n, err = s.file.Read(b)
	}
	// The bridge is gone, or endOpen closed the file.
	if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		err = io.EOF
	}
	if to := b[:max(n, 0)]; bytes.HasPrefix(to, s.turned) {
		copy(to, s.router)
	}
	return n, err
}

// Write sends a frame.
func (s *frames) Write(b []byte) (int, error) { return s.file.Write(b) }

// Close ends a Read that waits, with io.EOF.
func (s *frames) Close() error { return s.held.release() }

// endOpen closes what is open of a network.
func (f *Fabric) endOpen(id string) {
	for h := range f.open[id] {
		h.close()
	}
	delete(f.open, id)
}

// endFrames closes what is bound to a bridge of a network that there is no more.
func (f *Fabric) endFrames(id string) {
	for h := range f.open[id] {
		if h.bridge {
			delete(f.open[id], h)
			h.close()
		}
	}
}

// checkOpen ends what is in a namespace that is not the network's any more.
func (f *Fabric) checkOpen() {
	for id, open := range f.open {
		for h := range open {
			if h.ns != f.known[id].ns {
				delete(open, h)
				h.close()
			}
		}
	}
}

// htons puts a 16 bit number into network byte order.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
