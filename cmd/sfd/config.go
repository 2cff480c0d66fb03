package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
)

// config is what the command line and the environment say.
type config struct {
	dataDir    string
	clientFile string

	apiAddress     netip.Addr
	apiPort        int
	apiTLS         bool   // with a key of our own making
	apiCert        string // file; empty: none of the operator's
	apiKey         string // file
	insecureListen bool
	metricsAddress netip.Addr
	metricsPort    int    // 0: none
	authSecret     string // empty: the one in the data directory

	nodeName    string     // empty: as remembered, else the host's
	nodeIP      netip.Addr // not valid: no mesh
	networkNode netip.Addr // the seed's way of naming another machine; must be this one
	egressNIC   string
	netnsDir    string
	rawAddress  netip.Addr // not valid: no raw ports

	etcd      etcdOptions
	peerPort  int
	selfFence time.Duration // 0: never

	nodeTimeout time.Duration
	args        []string // as given, for the guard

	floating netip.Prefix // not valid: as recorded
	outside  sf.Outside
	dns      []netip.Addr
	noNames  bool
	zone     string
	diskBus  string

	cpuOvercommit float64
	ramOvercommit float64
	ramReserved   int // MiB, as sf.NodeConfig has it
	minFreeDisk   int // GiB
	cleanerDelay  time.Duration

	cirrosURL, ubuntuURL, debianURL string

	virt          string // hypervisor: "qemu" or "libvirt"
	libvirtSocket string
	qemu          string
	accel         string
	uidBase       int

	logLevel  slog.Level
	logFormat string

	cleanup bool // remove what is ours from the host and exit
	version bool
	help    bool

	secretFile  string        // of key set; empty: a random secret
	writeClient bool          // of key set
	fix, json   bool          // of doctor
	old         importOptions // of import

	warnings []string // for the log, once there is one
}

// defaults is a daemon without configuration.
func defaults() *config {
	return &config{
		dataDir: "/srv/shakenfist", clientFile: client.SystemFile,
		apiAddress: netip.AddrFrom4([4]byte{127, 0, 0, 1}), apiPort: 13000,
		metricsAddress: netip.AddrFrom4([4]byte{127, 0, 0, 1}), metricsPort: 13001,
		etcd: etcdOptions{retention: time.Hour}, peerPort: 13002, nodeTimeout: 15 * time.Second, netnsDir: "/run/netns", dns: []netip.Addr{netip.AddrFrom4([4]byte{8, 8, 8, 8})},
		rawAddress: netip.AddrFrom4([4]byte{127, 0, 0, 1}), zone: "shaken", diskBus: "virtio", cpuOvercommit: 16, ramOvercommit: 1.5,
		minFreeDisk: 10, cleanerDelay: time.Hour, virt: "qemu", libvirtSocket: "/run/libvirt/libvirt-sock", qemu: "qemu-system-x86_64", accel: "auto", uidBase: 200000,
		logLevel: slog.LevelInfo, logFormat: "text",
	}
}

// check is about how options fit each other.
func (c *config) check() error {
	switch {
	case (c.apiCert == "") != (c.apiKey == ""):
		return errors.New("--api-cert and --api-key belong together")
	case c.apiTLS && c.apiCert != "":
		return errors.New("--api-tls makes a certificate and --api-cert has one: say one of them")
	case c.insecureListen && (c.apiTLS || c.apiCert != ""):
		return errors.New("--insecure-listen is for an API without TLS, but --api-tls or --api-cert says otherwise: leave one out")
	}
	if c.networkNode.IsValid() && c.networkNode != c.nodeIP {
		return fmt.Errorf("%sNETWORK_NODE_IP is %s, another machine than this one: there is no network node here, each network's router is "+
			"on one of all nodes; unset it", envPrefix, c.networkNode)
	}
	if c.nodeIP.IsValid() && c.floating.Contains(c.nodeIP) {
		return fmt.Errorf("the node's address %s is inside the floating network %s, which sfd has for itself: change --floating-network", c.nodeIP, c.floating)
	}
	if c.shared() && !c.nodeIP.IsValid() {
		return errors.New("a cloud of several machines (--etcd-endpoints) needs --node-ip: this one's address towards the others")
	}
	if c.selfFence > 0 && !c.shared() {
		return errors.New("--self-fence is for one machine of several: say --etcd-endpoints")
	}
	if c.selfFence > 0 && c.selfFence < c.nodeTimeout {
		return fmt.Errorf("--self-fence %v is less than --node-timeout, %v: an outage of etcd that is everybody's would stop instances before machines "+
			"can have agreed that it is one", c.selfFence, c.nodeTimeout)
	}
	if err := c.checkOutside(); err != nil {
		return err
	}
	return c.etcd.check()
}

// checkOutside is about how the ways to floating addresses fit each other.
func (c *config) checkOutside() error {
	o := c.outside
	switch {
	case o.Mode == netfab.L2 && c.egressNIC == "":
		return errors.New("--floating-mode l2 needs --node-egress-nic: a device without addresses on the segment that the floating addresses are on")
	case o.Mode != netfab.L2 && (o.Segment.IsValid() || o.Gateway.IsValid()):
		return errors.New("--floating-segment and --floating-gateway are for --floating-mode l2")
	case o.Mode == netfab.Routed && !c.nodeIP.IsValid():
		return errors.New("--floating-mode routed is for several machines: it needs --node-ip; one machine needs no mode")
	case o.Mode != netfab.Routed && o.EdgeAddress.IsValid():
		return errors.New("--edge-address is for --floating-mode routed")
	case o.EdgeAddress.IsValid() && c.egressNIC == "":
		return errors.New("--edge-address needs --node-egress-nic: the device that the edge has it at")
	case o.EdgeAddress.IsValid() && c.floating.Contains(o.EdgeAddress.Addr()):
		return fmt.Errorf("--edge-address %s is inside the floating network %s, which is routed to it: say one outside of that", o.EdgeAddress, c.floating)
	case o.Segment.IsValid() && c.floating.IsValid() && (!o.Segment.Contains(c.floating.Addr()) || o.Segment.Bits() > c.floating.Bits()):
		return fmt.Errorf("--floating-segment %s: the floating network %s is no part of it", o.Segment, c.floating)
	}
	return nil
}

// listen is the address of the API.
func (c *config) listen() string {
	return net.JoinHostPort(c.apiAddress.String(), strconv.Itoa(c.apiPort))
}

// apiURL is how programs on this host reach the API on a port.
func (c *config) apiURL(port int) string {
	address := c.apiAddress
	if address.IsUnspecified() {
		address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	scheme := "http://"
	if c.secure() {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(address.String(), strconv.Itoa(port))
}

// secure reports whether the API is served over TLS.
func (c *config) secure() bool {
	return c.apiTLS || c.apiCert != "" || !c.apiAddress.IsLoopback() && !c.insecureListen
}

// path is the path of something in the data directory.
func (c *config) path(name string) string { return filepath.Join(c.dataDir, name) }
