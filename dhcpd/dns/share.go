package dns

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// What one client may take, so that others are answered while it asks as fast as it
// can, and nobody upstream is flooded.

// upstreamPrice is how many times as much as another a question counts that is asked upstream.
const upstreamPrice = 10

// purses hold what each client may still ask. One fills by rate a second, up to burst.
type purses struct {
	rate, burst float64

	mu     sync.Mutex
	of     map[netip.Addr]purse
	sorted int // how many were left the last time that full ones were thrown away
}

type purse struct {
	has float64
	at  time.Time
}

// few is how many purses are kept without a thought.
const few = 1024

// pay takes a price out of a client's purse at a time, if that is in it.
func (p *purses) pay(client netip.Addr, price float64, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	own, ok := p.of[client]
	if !ok {
		p.throwAway(now)
		own = purse{p.burst, now}
	}
	own = purse{p.filled(own, now), now}
	enough := own.has >= price
	if enough {
		own.has -= price
	}
	p.of[client] = own
	return enough
}

// filled is what is in a purse at a time.
func (p *purses) filled(own purse, now time.Time) float64 {
	return min(p.burst, own.has+p.rate*max(0, now.Sub(own.at).Seconds()))
}

// throwAway forgets purses that are full, as new ones are.
func (p *purses) throwAway(now time.Time) {
	if len(p.of) < max(few, 2*p.sorted) {
		return
	}
	for client, own := range p.of {
		if p.filled(own, now) >= p.burst {
			delete(p.of, client)
		}
	}
	p.sorted = len(p.of)
}

// places are things that there are only so many of. A client may have as many as are
// left free: alone it gets half of them, and one who comes beside it finds some.
type places struct {
	mu    sync.Mutex
	free  int
	taken map[netip.Addr]int
}

func newPlaces(n int) *places { return &places{free: n, taken: map[netip.Addr]int{}} }

// take takes one for a client, if it may have it.
func (p *places) take(client netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[client] >= p.free {
		return false
	}
	p.taken[client]++
	p.free--
	return true
}

// leave gives one back.
func (p *places) leave(client netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	if p.taken[client]--; p.taken[client] == 0 {
		delete(p.taken, client)
	}
}

// clientOf is who is at an address; those without an IP address are one.
func clientOf(a net.Addr) netip.Addr {
	if at, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return at.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
