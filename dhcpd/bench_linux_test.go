package dhcpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// BenchmarkAppendAnswer is the pure part: a REQUEST to its ACK.
func BenchmarkAppendAnswer(b *testing.B) {
	for _, clients := range []int{250, 20000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n, leases := manyClients(clients)
			table := mustTable(b, n, leases)
			l := newLoad(b, -1, leases)
			reply := make([]byte, 0, maxFrame)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.stamp(l.request, i%clients)
				copy(l.request[requestedAt:], leases[i%clients].Addr.AsSlice())
				if _, verdict := table.AppendAnswer(reply, l.request); verdict != Acked {
					b.Fatal(verdict)
				}
			}
		})
	}
}

// BenchmarkNewTable is what a change of one lease costs.
func BenchmarkNewTable(b *testing.B) {
	for _, clients := range []int{250, 20000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			n, leases := manyClients(clients)
			b.ReportAllocs()
			for b.Loop() {
				mustTable(b, n, leases)
			}
		})
	}
}

// variant is a way to run dnsmasq.
type variant struct {
	name string
	args []string
	// round is the number of exchanges (DISCOVER, OFFER, REQUEST, ACK) that each
	// server does in turn, by the number of clients.
	round map[int]int
}

// variants are dnsmasq as the original Shaken Fist runs it, which writes its leases
// and a log, and dnsmasq at its leanest: it keeps no leases on disk and says nothing.
// The first rewrites its whole file for each lease, hence the short rounds.
func variants(dir string) []variant {
	return []variant{
		{"usual", []string{"--dhcp-leasefile=" + filepath.Join(dir, "leases"), "--log-facility=" + filepath.Join(dir, "log")},
			map[int]int{250: 1000, 20000: 100}},
		{"lean", []string{"--leasefile-ro", "--quiet-dhcp", "--log-facility=/dev/null"},
			map[int]int{250: 1000, 20000: 1000}},
	}
}

// BenchmarkVersusDnsmasq has this package's loop and dnsmasq, in a process of
// its own each, answer the same load on the same topology, taking turns. Servers
// are pinned to one processor and the load to another. An op is a round of both;
// "ratio" is exchanges/s of ours by dnsmasq's. Run it with -benchtime 5x.
func BenchmarkVersusDnsmasq(b *testing.B) {
	need.Program(b, "taskset", "util-linux")
	need.Program(b, "dnsmasq", "dnsmasq-base")
	for _, clients := range []int{250, 20000} {
		for _, v := range variants(b.TempDir()) {
			b.Run(fmt.Sprintf("clients=%d/dnsmasq=%s", clients, v.name), func(b *testing.B) {
				n, leases := manyClients(clients)
				theirs, ours := newLab(b), newLab(b)
				theirs.startDnsmasq(b, v, n, leases)
				ours.startProcess(b, clients)
				dnsmasq, dhcpd := newLoad(b, theirs.rawFD(b), leases), newLoad(b, ours.rawFD(b), leases)
				if v.name == "lean" {
					// All clients get their first lease, so that what is measured
					// is a network in use; the other finds them in its file.
					dnsmasq.exchange(clients, 16)
				}
				for _, inFlight := range []int{1, 16, 64} {
					b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
						pinned(b, func() { compare(b, dnsmasq, dhcpd, v.round[clients], inFlight) })
					})
				}
			})
		}
	}
}

func compare(b *testing.B, dnsmasq, dhcpd *load, round, inFlight int) {
	var theirs, ours time.Duration
	rounds := 0
	dnsmasq.resent, dhcpd.resent = 0, 0
	for b.Loop() {
		rounds++
		start := time.Now()
		dnsmasq.exchange(round, inFlight)
		middle := time.Now()
		dhcpd.exchange(round, inFlight)
		theirs, ours = theirs+middle.Sub(start), ours+time.Since(middle)
	}
	total := float64(rounds * round)
	b.ReportMetric(total/theirs.Seconds(), "dnsmasq/s")
	b.ReportMetric(total/ours.Seconds(), "dhcpd/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(float64(dnsmasq.resent+dhcpd.resent), "resent")
	b.ReportMetric(0, "ns/op")
}

// pinned calls f with its thread on the first of this process's processors. The
// servers are on the last one.
func pinned(b *testing.B, f func()) {
	first, _ := processors(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatal(err)
	}
	one.Set(first)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	f()
}

// processors returns the first and the last processor of this process.
func processors(b *testing.B) (first, last int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &set); err != nil {
		b.Fatal(err)
	}
	first = -1
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	return first, last
}

// server starts a program in the host's namespace on the last processor, and
// ends it with the test by closing its standard input and killing it.
func (l *lab) server(b *testing.B, env []string, argv ...string) io.Reader {
	b.Helper()
	_, last := processors(b)
	args := append([]string{"netns", "exec", l.host, "taskset", "-c", strconv.Itoa(last)}, argv...)
	cmd := exec.Command("ip", args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return out
}

// startDnsmasq starts dnsmasq for a network whose clients all have a lease already.
func (l *lab) startDnsmasq(b *testing.B, v variant, n Network, leases []Lease) {
	b.Helper()
	run(b, "ip", "-n", l.host, "addr", "add", n.Router.String()+"/8", "dev", "br0")
	dir := b.TempDir()
	var hosts, given strings.Builder
	expiry := time.Now().Add(time.Hour).Unix()
	for _, lease := range leases {
		fmt.Fprintf(&hosts, "%v,%v\n", lease.MAC, lease.Addr)
		fmt.Fprintf(&given, "%d %v %v * *\n", expiry, lease.MAC, lease.Addr)
	}
	write := func(path, content string) {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	write(filepath.Join(dir, "hosts"), hosts.String())
	for _, arg := range v.args {
		if path, ok := strings.CutPrefix(arg, "--dhcp-leasefile="); ok {
			write(path, given.String())
		}
	}
	l.server(b, nil, append([]string{need.Program(b, "dnsmasq", "dnsmasq-base"),
		"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0",
		"--interface=br0", "--no-ping", "--dhcp-hostsfile=" + filepath.Join(dir, "hosts"),
		"--dhcp-range=10.0.0.2,static,255.0.0.0,1h", "--dhcp-lease-max=1000000",
		"--dhcp-option=3,10.0.0.1", "--dhcp-option=6,192.0.2.53,192.0.2.54",
		"--dhcp-option=15,cloud.example", "--dhcp-option=26,1450"}, v.args...)...)
}

// serveClients in the environment makes the test binary a server of so many clients.
const serveClients = "DHCPD_TEST_SERVE_CLIENTS"

func (l *lab) startProcess(b *testing.B, clients int) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	out := l.server(b, []string{serveClients + "=" + strconv.Itoa(clients)}, self)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatalf("server process: %q, %v", line, err)
	}
}

func TestMain(m *testing.M) {
	if clients, err := strconv.Atoi(os.Getenv(serveClients)); err == nil {
		if err := serveProcess(clients); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveProcess serves br0 until standard input ends.
func serveProcess(clients int) error {
	table, err := NewTable(manyClients(clients))
	if err != nil {
		return err
	}
	bridge, err := net.InterfaceByName("br0")
	if err != nil {
		return err
	}
	conn, err := Listen(bridge.Index)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); conn.Close() }()
	return NewServer(table, nil).Serve(context.Background(), conn)
}

// rawFD is raw as a blocking socket that gives up on a read after a while.
func (l *lab) rawFD(b *testing.B) int {
	b.Helper()
	f := l.raw(b)
	fd := int(f.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		b.Fatal(err)
	}
	patience := unix.NsecToTimeval(int64(200 * time.Millisecond))
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

func newLoad(b *testing.B, fd int, clients []Lease) *load {
	return &load{
		b: b, fd: fd, clients: clients, awaits: make([]byte, len(clients)),
		discover: fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC)).frame(),
		request:  fromClient(message(dhcpv4.MessageTypeRequest, guestMAC, withRequested("10.0.0.0"), withServer("10.0.0.1"))).frame(),
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
			if silence++; silence > 100 {
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
