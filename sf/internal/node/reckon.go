package node

import (
	"math"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// reckoned is a moment that a record tells, on this process's own clock. What was written
// by another clock, or before this one was set, is looked at once; from then on only the
// progress of this one counts. So a clock that is set forwards ends nothing that has just
// begun, and one that is set back keeps nothing going.
type reckoned struct {
	told time.Time // by the record
	at   time.Time // on this clock
}

// of is when told is, or was: at first sight between the earliest and the latest that it
// can be from now.
func (r *reckoned) of(told, now time.Time, earliest, latest time.Duration) time.Time {
	if r.at.IsZero() || !r.told.Equal(told) {
		r.told, r.at = told, now.Add(min(max(told.Sub(now), earliest), latest))
	}
	return r.at
}

// Bounds of what may be long ago.
const ever = time.Duration(math.MinInt64)

// opTimes are those of an operation that has not ended.
type opTimes struct{ since, deadline reckoned }

// timesOf returns what is remembered of an operation; a.mu is held.
func (m *instance) timesOf(op string) *opTimes {
	if m.ops[op] == nil {
		if m.ops == nil {
			m.ops = map[string]*opTimes{}
		}
		m.ops[op] = &opTimes{}
	}
	return m.ops[op]
}

// timeLeft is how long an operation may still take.
func (a *Agent) timeLeft(op *spec.Operation) time.Duration {
	m := a.of(op.Instance)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Clock.Now()
	return m.timesOf(op.ID).deadline.of(op.Deadline, now, ever, op.Deadline.Sub(op.Created)).Sub(now)
}

// age is how long an operation has been in its state.
func (a *Agent) age(op *spec.Operation) time.Duration {
	m := a.of(op.Instance)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Clock.Now()
	return now.Sub(m.timesOf(op.ID).since.of(op.Status.Since, now, ever, 0))
}

// ended forgets what is remembered of an operation.
func (a *Agent) ended(op *spec.Operation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.instances[op.Instance]; m != nil {
		delete(m.ops, op.ID)
	}
}

// askLeft is how much longer an instance's guest is to be asked to shut itself down.
func (a *Agent) askLeft(i *spec.Instance) time.Duration {
	if i.Power.Ask.IsZero() {
		return 0
	}
	m := a.of(i.UUID)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Clock.Now()
	return m.ask.of(i.Power.Ask, now, ever, spec.MaxAsk).Sub(now)
}

// inTrouble is for how long an instance's creation has been failing; a.mu is held. What
// was before this process is half of what is too long at most: nobody tried meanwhile, and
// how long that was only the clock on the wall can say.
func (m *instance) inTrouble(i *spec.Instance, now time.Time) time.Duration {
	if i.Status.Trouble.IsZero() {
		return 0
	}
	return now.Sub(m.trouble.of(i.Status.Trouble, now, -giveUpAfter/2, 0))
}
