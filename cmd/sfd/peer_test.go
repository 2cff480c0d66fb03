package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/shakenfist/cloud/sf"
)

// Nodes that do not answer cost what one of them costs: a node that asks whether an
// outage is everybody's has only so long before its routers stop.
func TestSilentPeersAreAskedAtOnce(t *testing.T) {
	const silent = 12
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var asked atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close() // at the end: nobody says a word
			asked.Add(1)
		}
	}()
	p := &peers{name: "me", known: map[string]*sf.Node{}, ways: map[string]*http.Transport{}}
	var names []string
	for k := range silent {
		n := &sf.Node{Name: fmt.Sprintf("node%d", k), Peer: l.Addr().String(), PeerKey: fmt.Sprint(k)}
		p.known[n.Name] = n
		names = append(names, n.Name)
	}
	if answers := p.Renewing(t.Context(), names); len(answers) > 0 {
		t.Errorf("somebody answered: %v", answers)
	}
	if n := asked.Load(); n != silent {
		t.Errorf("%d nodes were asked in the time for one, not %d", n, silent)
	}
}

// Tenants' images come neither from other nodes nor from etcd.
func TestOwnMachines(t *testing.T) {
	p := &peers{known: map[string]*sf.Node{}}
	c := &config{etcd: etcdOptions{endpoints: []string{"http://198.51.100.1:2379", "https://[2001:db8::1]:2379", "http://localhost:2379"}}}
	own := ownMachines(t.Context(), c, p)
	p.known["a"] = &sf.Node{Name: "a", Address: "203.0.113.1"} // since
	for _, want := range []string{"203.0.113.1", "198.51.100.1", "2001:db8::1", "127.0.0.1"} {
		if !slices.ContainsFunc(own(), func(a netip.Addr) bool { return a.Unmap() == netip.MustParseAddr(want) }) {
			t.Errorf("%s is not among %v", want, own())
		}
	}
	if alone := ownMachines(t.Context(), &config{}, nil)(); len(alone) > 0 {
		t.Errorf("a machine alone has %v", alone)
	}
}
