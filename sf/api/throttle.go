package api

import "time"

const (
	throttleFirst  = 100 * time.Millisecond // after the first failure; doubles with each further one
	throttleMost   = 5 * time.Second
	throttleForget = 10 * time.Minute // without a failure
	throttleKept   = 4096             // callers remembered at least
)

// throttle slows down guessing of secrets: after failures, each further attempt
// of the same address on the same namespace waits, the right one too, for at
// most throttleMost. Nobody is ever locked out.
type throttle struct {
	now      func() time.Time
	failures *memory[failure]
}

type failure struct {
	count int
	last  time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, failures: newMemory[failure](throttleKept)}
}

// delay returns how long the next attempt of who should wait.
func (t *throttle) delay(who string) time.Duration {
	f, ok := t.failures.get(who)
	if !ok || t.now().Sub(f.last) > throttleForget {
		return 0
	}
	d := throttleFirst
	for i := 1; i < f.count && d < throttleMost; i++ {
		d *= 2
	}
	return min(d, throttleMost)
}

// failed records a wrong secret.
func (t *throttle) failed(who string) {
	f, _ := t.failures.get(who)
	if t.now().Sub(f.last) > throttleForget {
		f.count = 0
	}
	t.failures.put(who, failure{count: f.count + 1, last: t.now()})
}

// succeeded forgets the failures.
func (t *throttle) succeeded(who string) { t.failures.forget(who) }
