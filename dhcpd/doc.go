// Package dhcpd answers DHCPv4 (RFC 2131) for one network whose addresses are
// known in advance: no pool, no lease file, no state of its own. An answer is a
// pure function of the request and of a [Table], an immutable snapshot of who
// has which address. Whoever is not in the table gets no answer.
//
//	table, err := dhcpd.NewTable(network, leases)
//	server := dhcpd.NewServer(table, nil)
//	conn, err := dhcpd.Listen(ifindex) // or any source of Ethernet frames
//	err = server.Serve(ctx, conn)      // until ctx ends or conn does
//
// [Table.AppendAnswer] is the function; [Server] is the loop around it, which
// reads and writes whole Ethernet frames, so that it needs no address, no UDP
// socket and no route where it runs, and one process can serve any number of
// networks with overlapping addresses. When a network changes, make a new table
// and hand it over with [Server.Set]; clients learn of it when they renew.
//
// # What is answered
//
// DISCOVER with an OFFER; REQUEST in all four of its meanings (selecting,
// rebooting, renewing, rebinding) with an ACK, or with a NAK when it asks for
// an address that is not the client's; INFORM with an ACK that has no lease.
// DECLINE and RELEASE are counted and change nothing, since an address belongs to
// its client for as long as the record says so. A client is its MAC address: the
// hardware address inside the message must be the frame's source, and relayed
// messages are not for us. A request for another server is left to it.
//
// Every lease carries mask, router, DNS servers, MTU and the three times whether
// asked for or not (clients that forget to ask for the MTU are common, and on an
// overlay network they would lose large packets); everything else by the client's
// parameter request list, in its order, or all of it when there is no list.
// Replies go to the client's MAC address even where the IP destination is the
// broadcast address, so that they never flood a network that spans hosts.
//
// How often a client may ask is not for this package: an answer costs microseconds,
// and a client can have any MAC address that the network lets it have. Limit it where
// frames come in.
//
// # How it is made fast
//
// github.com/insomniacslk/dhcp encodes every option, once, when the table is
// made. A packet's answer is then a copy of these pieces and of some dozen bytes
// of the request: no allocation, no lock, and one map lookup whatever the number
// of clients. The same library is the oracle of this package's tests.
package dhcpd
