package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func testTable() *Table {
	hosts := []Host{
		{"web", addr("10.0.0.10")}, {"DB", addr("10.0.0.11")}, {"twice", addr("10.0.0.12")}, {"twice", addr("10.0.0.13")},
		{"not a label", addr("10.0.0.14")}, {"six", addr("fd00::1")}, {"alias", addr("10.0.0.10")},
	}
	for i := range 40 {
		hosts = append(hosts, Host{"many", netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})})
	}
	return NewTable(Network{Name: "LAN", Zone: "cloud.internal.", Prefix: netip.MustParsePrefix("10.0.0.0/24")}, hosts)
}

// question is a query as a client sends it.
func question(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	if err != nil {
		t.Fatal(err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x1234, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// told prints the code and the answers of a reply.
func told(t testing.TB, reply []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("reply % x: %v", reply, err)
	}
	if !m.Response || !m.RecursionAvailable || m.ID != 0x1234 {
		t.Errorf("header %+v", m.Header)
	}
	text := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	for _, a := range m.Answers {
		switch r := a.Body.(type) {
		case *dnsmessage.AResource:
			text = append(text, netip.AddrFrom4(r.A).String())
		case *dnsmessage.PTRResource:
			text = append(text, r.PTR.String())
		default:
			text = append(text, fmt.Sprintf("%T", r))
		}
	}
	return strings.Join(text, " ")
}

func TestAnswer(t *testing.T) {
	table := testTable()
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		want string // empty: to be forwarded
	}{
		{"web.", dnsmessage.TypeA, "Success 10.0.0.10"},
		{"WeB.lAn.", dnsmessage.TypeA, "Success 10.0.0.10"},
		{"db.cloud.internal.", dnsmessage.TypeA, "Success 10.0.0.11"},
		{"db.lan.cloud.internal.", dnsmessage.TypeALL, "Success 10.0.0.11"},
		{"twice.", dnsmessage.TypeA, "Success 10.0.0.12 10.0.0.13"},
		{"web.", dnsmessage.TypeAAAA, "Success"},
		{"web.", dnsmessage.TypeMX, "Success"},
		{"six.", dnsmessage.TypeAAAA, "NameError"},
		{"nobody.", dnsmessage.TypeA, "NameError"},
		{"nobody.cloud.internal.", dnsmessage.TypeA, "NameError"},
		// These have no records and names below them: to say that they do not exist says that of those too.
		{"cloud.internal.", dnsmessage.TypeSOA, "Success"},
		{"lan.cloud.internal.", dnsmessage.TypeA, "Success"},
		{"lan.", dnsmessage.TypeA, "Success"},
		{"internal.", dnsmessage.TypeA, "NameError"},
		// A guest that validates asks the world about its top-level domains.
		{"com.", dnsmessage.Type(43), ""}, // DS
		{"com.", dnsmessage.Type(48), ""}, // DNSKEY
		{"com.", dnsmessage.TypeNS, ""},
		{"lan.", dnsmessage.TypeNS, ""}, // it might be called like one
		{"com.", dnsmessage.TypeSOA, ""},
		{"com.", dnsmessage.TypeA, "NameError"},
		{"web.", dnsmessage.Type(43), "Success"},
		{"nobody.lan.", dnsmessage.TypeA, ""},
		{"web.example.com.", dnsmessage.TypeA, ""},
		{"notcloud.internal.", dnsmessage.TypeA, ""},
		{".", dnsmessage.TypeNS, ""},
		{"10.0.0.10.in-addr.arpa.", dnsmessage.TypePTR, "Success web.lan.cloud.internal."},
		{"11.0.0.10.in-addr.arpa.", dnsmessage.TypePTR, "Success db.lan.cloud.internal."},
		{"99.0.0.10.in-addr.arpa.", dnsmessage.TypePTR, "NameError"},
		{"1.1.168.192.in-addr.arpa.", dnsmessage.TypePTR, ""},
		{"web.", dnsmessage.TypeAXFR, "Refused"},
	} {
		reply, verdict := table.Answer(question(t, c.name, c.kind))
		switch {
		case c.want == "":
			if verdict != Forwarded || reply != nil {
				t.Errorf("%s %v: verdict %d, reply % x, want it forwarded", c.name, c.kind, verdict, reply)
			}
		case verdict != Answered:
			t.Errorf("%s %v: verdict %d", c.name, c.kind, verdict)
		default:
			if got := told(t, reply); got != c.want {
				t.Errorf("%s %v: %q, want %q", c.name, c.kind, got, c.want)
			}
		}
	}
	if reply, _ := table.Answer(question(t, "many.", dnsmessage.TypeA)); len(reply) > 512 {
		t.Errorf("a reply of %d bytes, which UDP without EDNS does not carry", len(reply))
	}
}

// What is no query gets no reply; what is none of ours gets a refusal.
func TestAnswerMalformed(t *testing.T) {
	table := testTable()
	query := question(t, "web.", dnsmessage.TypeA)
	change := func(at int, b byte) []byte {
		q := append([]byte(nil), query...)
		q[at] = b
		return q
	}
	for _, c := range []struct {
		name  string
		query []byte
		want  string // empty: no reply
	}{
		{"nothing", nil, ""},
		{"half a header", query[:7], ""},
		{"a reply", change(2, 0x80), ""},
		{"a header alone", query[:12], "FormatError"},
		{"two questions", change(5, 2), "FormatError"},
		{"an update", change(2, 5<<3), "NotImplemented"},
		{"class CHAOS", change(len(query)-1, 3), "Refused"},
	} {
		reply, verdict := table.Answer(c.query)
		if c.want == "" {
			if verdict != Ignored || reply != nil {
				t.Errorf("%s: verdict %d, reply % x", c.name, verdict, reply)
			}
			continue
		}
		if got := told(t, reply); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Whatever comes, what goes is a reply to it that any resolver can read.
func FuzzAnswer(f *testing.F) {
	f.Add(question(f, "web.", dnsmessage.TypeA))
	f.Add(question(f, "11.0.0.10.in-addr.arpa.", dnsmessage.TypePTR))
	f.Add(question(f, "many.", dnsmessage.TypeALL))
	table := testTable()
	f.Fuzz(func(t *testing.T, query []byte) {
		reply, verdict := table.Answer(query)
		if (verdict == Answered) != (reply != nil) {
			t.Fatalf("verdict %d, reply % x", verdict, reply)
		}
		if reply == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("reply % x: %v", reply, err)
		}
		if !m.Response || m.ID != uint16(query[0])<<8|uint16(query[1]) || len(reply) > 1024 {
			t.Fatalf("reply of %d bytes, %+v", len(reply), m.Header)
		}
		answers(query, reply)
		failure(query)
	})
}

func TestUpstreams(t *testing.T) {
	got := fmt.Sprint(Upstreams("# none\nsearch x\nnameserver 192.0.2.1\n nameserver\tfd00::1 # six\nnameserver what\nnameserver"))
	if want := "[192.0.2.1:53 [fd00::1]:53]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
