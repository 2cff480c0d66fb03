package dhcpd

import (
	"bytes"
	"net"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// FuzzFrame feeds raw frames. Whatever comes in, what goes out is sound.
func FuzzFrame(f *testing.F) {
	for _, c := range exchanges() {
		f.Add(c.request.frame())
	}
	table := mustTable(f, testNetwork(), testLeases())
	f.Fuzz(func(t *testing.T, frame []byte) { checkAnswer(t, table, frame) })
}

// FuzzMessage feeds DHCP messages within good headers, past the checksum.
func FuzzMessage(f *testing.F) {
	for _, c := range exchanges() {
		f.Add(c.request.Payload)
	}
	table := mustTable(f, testNetwork(), testLeases())
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 1472 {
			return
		}
		d := fromClient(message(dhcpv4.MessageTypeDiscover, guestMAC))
		d.Payload = payload
		checkAnswer(t, table, d.frame())
	})
}

// checkAnswer asserts what holds for every frame: a verdict, an untouched
// request, and a reply only to a known client, in form, about its own address.
func checkAnswer(t *testing.T, table *Table, frame []byte) {
	before := bytes.Clone(frame)
	reply, verdict := table.AppendAnswer(nil, frame)
	if !bytes.Equal(before, frame) {
		t.Fatal("the request was written to")
	}
	switch verdict {
	case Offered, Acked, Refused, Informed:
	case NotDHCP, Spoofed, Unknown, Elsewhere, Declined, Released:
		if len(reply) != 0 {
			t.Fatalf("%v: a reply of %d bytes", verdict, len(reply))
		}
		return
	default:
		t.Fatalf("verdict %d", verdict)
	}
	lease, ok := table.Lookup(net.HardwareAddr(frame[6:12]))
	if !ok {
		t.Fatal("answered a client that is not in the table")
	}
	if len(reply) < headerLen+minMessage || len(reply) > 14+maxPacket {
		t.Fatalf("reply of %d bytes", len(reply))
	}
	m, _ := describe(t, reply)
	d, _ := readFrame(reply)
	if !bytes.Equal(d.To, lease.MAC) || !bytes.Equal(m.ClientHWAddr, lease.MAC) || !bytes.Equal(d.From, routerMAC) {
		t.Fatalf("reply from %v to %v about %v", d.From, d.To, m.ClientHWAddr)
	}
	asked, err := dhcpv4.FromBytes(frame[14+int(frame[14]&15)*4+8:])
	if err == nil && asked.TransactionID != m.TransactionID {
		t.Fatalf("transaction %v, asked %v", m.TransactionID, asked.TransactionID)
	}
	if given := m.YourIPAddr.To4(); !given.IsUnspecified() && given.String() != lease.Addr.String() {
		t.Fatalf("given %v, has %v", given, lease.Addr)
	}
	if given := !m.YourIPAddr.IsUnspecified(); given != (verdict == Offered || verdict == Acked) {
		t.Fatalf("%v with the address %v", verdict, m.YourIPAddr)
	}
}
