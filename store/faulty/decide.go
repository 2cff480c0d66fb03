package faulty

import (
	"math/rand/v2"
	"time"
)

// Nth makes fault happen to the n-th call, counted from 1, of one of ops, or of
// any method where no ops are given.
func Nth(n int, fault Fault, ops ...Op) func(Call) Fault {
	seen := 0
	return func(c Call) Fault {
		if !match(c.Op, ops) {
			return Fault{}
		}
		if seen++; seen == n {
			return fault
		}
		return Fault{}
	}
}

// Every makes fault happen to each call of ops, or of any method without ops.
func Every(fault Fault, ops ...Op) func(Call) Fault {
	return func(c Call) Fault {
		if match(c.Op, ops) {
			return fault
		}
		return Fault{}
	}
}

// Rates says how often, from 0 to 1, a call goes wrong in which way.
type Rates struct {
	Refuse, LoseRequest, LoseReply, Late, Delay float64
	// MaxDelay bounds the delays, which are evenly distributed.
	MaxDelay time.Duration
	// MaxLate bounds how many calls later a late commit happens.
	MaxLate int
}

// Seeded draws faults at random: the same seed and the same calls in the same
// order give the same faults.
func Seeded(seed uint64, r Rates) func(Call) Fault {
	rng := rand.New(rand.NewPCG(seed, seed))
	return func(Call) Fault {
		// Always the same number of draws, so that changing one rate leaves the others' places alone.
		what, slow, delay, late := rng.Float64(), rng.Float64(), rng.Float64(), rng.Float64()
		f := Fault{Calls: int(late * float64(r.MaxLate+1))}
		if slow < r.Delay {
			f.Delay = time.Duration(delay * float64(r.MaxDelay))
		}
		for _, e := range []struct {
			rate   float64
			effect Effect
		}{{r.Refuse, Refuse}, {r.LoseRequest, LoseRequest}, {r.LoseReply, LoseReply}, {r.Late, Late}} {
			if what < e.rate {
				f.Effect = e.effect
				break
			}
			what -= e.rate
		}
		return f
	}
}

func match(op Op, ops []Op) bool {
	if len(ops) == 0 {
		return true
	}
	for _, o := range ops {
		if o == op {
			return true
		}
	}
	return false
}
