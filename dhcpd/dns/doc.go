// Package dns answers the DNS of one network's guests: the names of the network's
// own hosts from a [Table], an immutable snapshot, and everything else by asking
// upstream servers.
//
//	table := dns.NewTable(dns.Network{Name: "lan", Zone: "cloud.internal", Prefix: prefix}, hosts)
//	server := dns.NewServer(dns.Config{Upstreams: upstreams}, table)
//	go server.ServeTCP(ctx, listener)
//	err := server.ServeUDP(ctx, conn)
//
// [Table.Answer] is a pure function of a query; [Server] is the loops around it.
// It has no cache: what guests keep of an answer is theirs. A client is an IP address
// that the network has seen to be its own, and gets its share and no more: see Config.
//
// It is beside dhcpd and like it: both say from a record, on the guest's own host,
// what a guest asks about its network.
package dns
