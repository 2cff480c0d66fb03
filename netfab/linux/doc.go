// Package linux is a network fabric on the Linux kernel, through netlink alone:
// no child processes, no packages to install.
//
// A virtual network is a network namespace. It holds a bridge (br0) with a
// persistent tap for each port, the network's VXLAN device (vx0) where the host
// is part of a mesh, and, where this host is the network's router, the router's
// address on br0 and the inner end (out0) of a veth pair whose outer end is a
// port of the host's outside bridge. So the host is no neighbour of its guests
// by construction, no foreign firewall rule ever sees their frames, address
// blocks may overlap, and removing a network is removing a namespace.
//
// What exists carries its owner: a namespace on its loopback device's alias, a
// device of the host on its own, an nftables table on the comment of each rule.
// What has one of our names and not our mark is ErrForeign and left alone.
//
// Guests speak IPv4 and ARP only: all other Ethernet types, VLAN tags included,
// are dropped at the port, as is what does not come from the port's own MAC and
// address. DHCP ends on this host: what guests send to UDP port 67 reaches
// neither other guests nor the mesh, only Frames; what they send from it, nobody.
//
// Beside its namespaces the fabric changes of the host: one bridge, one nftables
// table, accept rules in foreign forward chains that drop by default, for what
// goes to that bridge and from it to the world (marked, and removed with the
// bridge), and net.ipv4.ip_forward, which is set to 1 where there is an outside
// and never set back.
package linux
