// Package ipam decides which address of a block to hand out. It is pure: claims
// come in as arguments, chance as a function.
package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Claim is a claimed address. One that rests belonged to something deleted: it
// is handed out again only when nothing else is left, or to who asks for it by
// name, since guests' ARP caches and leases outlive a delete.
type Claim struct {
	Owner  string    // UUID of an interface, or of the network whose outside address it is
	Rested time.Time // when it was given back; zero while in use
}

// Resting reports whether the claim's owner is gone.
func (c Claim) Resting() bool { return !c.Rested.IsZero() }

// Usable says whether addr may be given to a guest of block: not the network's,
// the router's or the broadcast address. The error names the reason.
func Usable(block netip.Prefix, addr netip.Addr) error {
	block = block.Masked()
	switch {
	case !block.Contains(addr):
		return fmt.Errorf("address %s is outside the network's block %s", addr, block)
	case addr == block.Addr():
		return fmt.Errorf("address %s is the network address of %s", addr, block)
	case addr == block.Addr().Next():
		return fmt.Errorf("address %s is the router's address of %s", addr, block)
	case addr == nth(block, size(block)-1):
		return fmt.Errorf("address %s is the broadcast address of %s", addr, block)
	}
	return nil
}

// Random returns any usable address of block, claimed or not: the cheap first
// guess while a block is mostly free.
func Random(block netip.Prefix, intn func(int) int) netip.Addr {
	return nth(block, 2+uint32(intn(int(size(block)-3))))
}

// Guesses is how many random addresses of a block to try before all its claims are
// read. Stores read by the thousand, so one guess for each thousand takes no longer than that
// reading would, and finds something unless the block is all but full.
func Guesses(block netip.Prefix) int { return 4 + int(size(block)/1000) }

// Pick returns a usable address of block that claims does not hold, else the one
// that has rested longest, else false: the block is full.
func Pick(block netip.Prefix, claims map[netip.Addr]Claim, intn func(int) int) (netip.Addr, bool) {
	usable := int(size(block)) - 3
	start := intn(usable)
	var oldest netip.Addr
	var rested time.Time
	for i := range usable {
		addr := nth(block, 2+uint32((start+i)%usable))
		c, taken := claims[addr]
		if !taken {
			return addr, true
		}
		if c.Resting() && (!oldest.IsValid() || c.Rested.Before(rested)) {
			oldest, rested = addr, c.Rested
		}
	}
	return oldest, oldest.IsValid()
}

// size is the number of addresses in an IPv4 block of at most /1.
func size(block netip.Prefix) uint32 { return 1 << (32 - block.Bits()) }

func nth(block netip.Prefix, n uint32) netip.Addr {
	a := block.Masked().Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+n)
	return netip.AddrFrom4(a)
}
