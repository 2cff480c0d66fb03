package dhcpd

import (
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// rawFD is raw as a blocking socket that gives up on a read after a while.
func (l *lab) rawFD(b *testing.B) int {
	b.Helper()
	f := l.raw(b)
	fd := int(f.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		b.Fatal(err)
	}
	patience := unix.NsecToTimeval(int64(2 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		b.Fatal(err)
	}
	return fd
}

// load is many clients behind one socket.
type load struct {
	b                 *testing.B
	fd                int
	clients           []Lease
	discover, request []byte // frames, stamped for each client
	awaits            []byte // by client: the message type it waits for, 0 for none
	next              int    // client that starts next
	resent            int
}

// Where the parts of a frame are that differ between clients.
const (
	transactionAt = headerLen + 4
	hardwareAt    = headerLen + 28
	requestedAt   = headerLen + optionsAt + 2 // the codec sorts: option 50 is the first
)

// newLoad makes clients that want broadcast replies: for unicast ones dnsmasq
// needs an entry each in the kernel's neighbour table, which holds 1024 and then
// stalls it for seconds.
func newLoad(b *testing.B, fd int, clients []Lease) *load {
	cast := dhcpv4.WithBroadcast(true)
	return &load{
		b: b, fd: fd, clients: clients, awaits: make([]byte, len(clients)),
		discover: fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC, cast)).frame(),
		request:  fromClient(message(dhcpv4.MessageTypeRequest, guestMAC, cast, withRequested("10.0.0.0"), withServer("10.0.0.1"))).frame(),
	}
}

// stamp makes frame the i-th client's.
func (l *load) stamp(frame []byte, i int) {
	copy(frame[6:], l.clients[i].MAC)
	copy(frame[hardwareAt:], l.clients[i].MAC)
	copy(frame[transactionAt:], l.clients[i].MAC[2:])
}

func (l *load) send(frame []byte, i int) {
	l.stamp(frame, i)
	if _, err := unix.Write(l.fd, frame); err != nil {
		l.b.Fatal(err)
	}
}

// begin starts the next client's exchange.
func (l *load) begin() {
	l.awaits[l.next] = offer
	l.send(l.discover, l.next)
	l.next = (l.next + 1) % len(l.clients)
}

// exchange does n exchanges, as many at a time as inFlight says.
func (l *load) exchange(n, inFlight int) {
	for range min(n, inFlight) {
		l.begin()
	}
	frame := make([]byte, maxFrame)
	silence := 0
	for begun, done := min(n, inFlight), 0; done < n; {
		size, err := unix.Read(l.fd, frame)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if silence++; silence > 10 {
				l.b.Fatalf("no answer to %d of %d exchanges", n-done, n)
			}
			l.again()
			continue
		case err != nil:
			l.b.Fatal(err)
		}
		if l.advance(frame[:size]) {
			done, silence = done+1, 0
			if begun < n {
				begun++
				l.begin()
			}
		}
	}
}

// advance takes a reply and reports whether it ended an exchange.
func (l *load) advance(frame []byte) bool {
	if len(frame) < headerLen+optionsAt+3 || frame[23] != 17 || frame[35] != serverPort || frame[headerLen+optionsAt] != optMessageType {
		return false
	}
	i := int(frame[transactionAt])<<24 | int(frame[transactionAt+1])<<16 | int(frame[transactionAt+2])<<8 | int(frame[transactionAt+3])
	kind := frame[headerLen+optionsAt+2]
	if kind == nak {
		l.b.Fatalf("client %d is refused", i)
	}
	if i >= len(l.awaits) || l.awaits[i] != kind {
		return false
	}
	addr := frame[headerLen+16 : headerLen+20]
	if given := netip.AddrFrom4([4]byte(addr)); given != l.clients[i].Addr {
		l.b.Fatalf("client %d is given %v, has %v", i, given, l.clients[i].Addr)
	}
	if kind == ack {
		l.awaits[i] = 0
		return true
	}
	l.awaits[i] = ack
	copy(l.request[requestedAt:], addr)
	l.send(l.request, i)
	return false
}

// again has all waiting clients start over.
func (l *load) again() {
	for i, kind := range l.awaits {
		if kind != 0 {
			l.resent++
			l.awaits[i] = offer
			l.send(l.discover, i)
		}
	}
}
