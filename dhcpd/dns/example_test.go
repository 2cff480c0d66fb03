package dns_test

import (
	"fmt"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/shakenfist/cloud/dhcpd/dns"
)

// A query is answered, or to be forwarded, by what the table knows.
func ExampleTable_Answer() {
	table := dns.NewTable(
		dns.Network{Name: "lan", Zone: "cloud.internal", Prefix: netip.MustParsePrefix("10.0.0.0/24")},
		[]dns.Host{{Name: "web", Addr: netip.MustParseAddr("10.0.0.10")}})
	for _, name := range []string{"web.", "web.lan.", "nobody.", "www.example.com."} {
		query := dnsmessage.Message{Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}}}
		packed, err := query.Pack()
		if err != nil {
			fmt.Println(err)
			return
		}
		reply, verdict := table.Answer(packed)
		if verdict == dns.Forwarded {
			fmt.Println(name, "is for others")
			continue
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(name, m.RCode, len(m.Answers))
	}
	// Output:
	// web. RCodeSuccess 1
	// web.lan. RCodeSuccess 1
	// nobody. RCodeNameError 0
	// www.example.com. is for others
}
