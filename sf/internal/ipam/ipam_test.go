package ipam

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestUsable(t *testing.T) {
	block := netip.MustParsePrefix("10.1.2.0/24")
	for addr, ok := range map[string]bool{
		"10.1.2.0": false, "10.1.2.1": false, "10.1.2.2": true, "10.1.2.254": true,
		"10.1.2.255": false, "10.1.3.4": false, "10.1.1.255": false, "::1": false,
	} {
		if err := Usable(block, netip.MustParseAddr(addr)); (err == nil) != ok {
			t.Errorf("Usable(%s) = %v, want ok=%v", addr, err, ok)
		}
	}
}

// A /24 yields its 253 guest addresses, all distinct, and never the router's.
func TestPickWholeBlock(t *testing.T) {
	block := netip.MustParsePrefix("192.168.7.0/24")
	rnd := rand.New(rand.NewPCG(1, 2))
	claims := map[netip.Addr]Claim{}
	for i := range 253 {
		a, ok := Pick(block, claims, rnd.IntN)
		if !ok || claims[a].Owner != "" || Usable(block, a) != nil {
			t.Fatalf("pick %d: %s, %v", i, a, ok)
		}
		claims[a] = Claim{Owner: "x"}
	}
	if a, ok := Pick(block, claims, rnd.IntN); ok {
		t.Fatalf("a full block gave %s", a)
	}
}

func TestPickPrefersFreeThenLongestRested(t *testing.T) {
	block := netip.MustParsePrefix("10.0.0.0/29") // .2 to .6
	now := time.Unix(1000, 0)
	claims := map[netip.Addr]Claim{}
	for i, last := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"} {
		claims[netip.MustParseAddr(last)] = Claim{Owner: "x", Rested: now.Add(-time.Duration(i) * time.Second)}
	}
	zero := func(int) int { return 0 }
	if a, _ := Pick(block, claims, zero); a.String() != "10.0.0.6" {
		t.Errorf("free address: got %s", a)
	}
	claims[netip.MustParseAddr("10.0.0.6")] = Claim{Owner: "y"}
	if a, _ := Pick(block, claims, zero); a.String() != "10.0.0.5" {
		t.Errorf("longest rested: got %s", a)
	}
}

func TestPickProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(22, 29).Draw(t, "bits")
		block := netip.PrefixFrom(netip.MustParseAddr("172.16.0.0"), bits)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		if a := Random(block, rnd.IntN); Usable(block, a) != nil {
			t.Fatalf("Random gave %s of %s", a, block)
		}
		claims := map[netip.Addr]Claim{}
		for range rapid.IntRange(0, 1<<(32-bits)).Draw(t, "claims") {
			a, ok := Pick(block, claims, rnd.IntN)
			if !ok {
				if want := 1<<(32-bits) - 3; len(claims) != want {
					t.Fatalf("full at %d of %d", len(claims), want)
				}
				return
			}
			if _, dup := claims[a]; dup || Usable(block, a) != nil {
				t.Fatalf("%s handed out twice or not usable", a)
			}
			claims[a] = Claim{Owner: "x"}
		}
	})
}
