package dhcpd_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/shakenfist/cloud/dhcpd"
)

// A server for one network on the bridge br0. It needs root and Linux, and
// therefore is compiled here but not run.
func Example() {
	table, err := dhcpd.NewTable(dhcpd.Network{
		Prefix:    netip.MustParsePrefix("10.1.2.0/24"),
		Router:    netip.MustParseAddr("10.1.2.1"),
		RouterMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		MTU:       1450,
	}, []dhcpd.Lease{{
		MAC:      net.HardwareAddr{2, 0, 0, 0, 0, 10},
		Addr:     netip.MustParseAddr("10.1.2.10"),
		Hostname: "web-1",
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	bridge, err := net.InterfaceByName("br0")
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := dhcpd.Listen(bridge.Index)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(dhcpd.NewServer(table, nil).Serve(context.Background(), conn))
}

func ExampleNewTable() {
	network := dhcpd.Network{
		Prefix:    netip.MustParsePrefix("10.1.2.0/24"),
		Router:    netip.MustParseAddr("10.1.2.1"),
		RouterMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}
	_, err := dhcpd.NewTable(network, []dhcpd.Lease{
		{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 10}, Addr: netip.MustParseAddr("10.1.2.1")},
	})
	fmt.Println(err)
	// Output: dhcpd: invalid configuration: lease of 02:00:00:00:00:0a: address 10.1.2.1 is the router's
}
