package lifecycle

import (
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/spec"
)

func TestPower(t *testing.T) {
	const now, old = 7, 6 // generations: the status answers this wish, or an earlier one
	for _, c := range []struct {
		want     spec.PowerState
		answered int64
		machine  driver.State
		step     Step
		is       spec.PowerState
		ended    bool
	}{
		{spec.PowerOn, old, driver.Defined, Start, spec.PowerOff, false},
		{spec.PowerOn, now, driver.Defined, Start, spec.PowerOff, false}, // the host rebooted
		{spec.PowerOn, now, driver.Running, Settle, spec.PowerOn, false},
		{spec.PowerOn, old, driver.Paused, Resume, spec.PowerPaused, false},
		{spec.PowerOn, now, driver.Stalled, Settle, spec.PowerOn, false},
		{spec.PowerOn, now, driver.Stopped, Settle, spec.PowerOff, true}, // the guest shut itself down
		{spec.PowerOn, old, driver.Stopped, Start, spec.PowerOff, false}, // a new wish
		{spec.PowerOn, now, driver.Crashed, Settle, spec.PowerCrashed, true},
		{spec.PowerOn, old, driver.Crashed, Start, spec.PowerCrashed, false},
		{spec.PowerOff, old, driver.Running, Stop, spec.PowerOn, false},
		{spec.PowerOff, old, driver.Paused, Stop, spec.PowerPaused, false},
		{spec.PowerOff, now, driver.Defined, Settle, spec.PowerOff, false},
		{spec.PowerOff, now, driver.Stopped, Settle, spec.PowerOff, false},
		{spec.PowerPaused, old, driver.Running, Pause, spec.PowerOn, false},
		{spec.PowerPaused, now, driver.Paused, Settle, spec.PowerPaused, false},
		{spec.PowerPaused, old, driver.Defined, Start, spec.PowerOff, false},
		{spec.PowerPaused, now, driver.Stopped, Settle, spec.PowerOff, true},
	} {
		step, is, ended := Power(spec.Power{Want: c.want, Generation: now}, spec.InstanceStatus{Generation: c.answered}, c.machine)
		if step != c.step || is != c.is || ended != c.ended {
			t.Errorf("want %s (answered %d), machine %s: %s, %s, %v; expected %s, %s, %v",
				c.want, c.answered, c.machine, step, is, ended, c.step, c.is, c.ended)
		}
	}
}

// A definition that was lost and made again does not wake a guest that had shut
// itself down.
func TestEndedSurvivesRedefinition(t *testing.T) {
	was := spec.InstanceStatus{Generation: 7, Ended: "the guest shut itself down"}
	step, _, ended := Power(spec.Power{Want: spec.PowerOn, Generation: 7}, was, driver.Defined)
	if step != Settle || !ended {
		t.Errorf("%s, %v", step, ended)
	}
}

// apply plays a step on a perfect host.
func apply(i *spec.Instance, h *Host, s Step) {
	switch s {
	case Begin:
		i.Status.State = spec.StateCreating
	case Fetch:
		h.Fetched = true
	case Attach:
		h.Attached = true
	case Build:
		h.Built = true
	case Define:
		h.Machine = &driver.Status{State: driver.Defined}
	case Start, Resume:
		h.Machine.State = driver.Running
	case Pause:
		h.Machine.State = driver.Paused
	case Stop:
		h.Machine.State = driver.Defined
	case Settle:
		i.Status.State, i.Status.Generation = spec.StateCreated, i.Power.Generation
	case Destroy:
		h.Machine = nil
	case Remove:
		h.Removed = true
	case Detach:
		h.Detached = true
	case Final:
		i.Deletion.Done = time.Unix(1, 0)
	}
}

// From every point of a creation, whatever power is wanted, both the creation
// and a deletion that comes in there reach their end.
func TestEveryPathEnds(t *testing.T) {
	for _, want := range []spec.PowerState{spec.PowerOn, spec.PowerOff, spec.PowerPaused} {
		for cut := range 12 {
			i := &spec.Instance{Power: spec.Power{Want: want, Generation: 1}}
			h := Host{}
			for range cut {
				apply(i, &h, Next(i, h))
			}
			if cut == 11 {
				if i.Status.State != spec.StateCreated || Next(i, h) != Settle {
					t.Errorf("%s: ends at %s with %s next", want, i.Status.State, Next(i, h))
				}
			}
			// The daemon restarts: it forgets all but what the host and the store show.
			h.Fetched, h.Attached = false, false
			i.Deletion = &spec.Deletion{}
			for n := 0; Next(i, h) != None; n++ {
				if n > 12 {
					t.Fatalf("%s cut at %d: the deletion does not end: %s", want, cut, Next(i, h))
				}
				apply(i, &h, Next(i, h))
			}
			if h.Machine != nil {
				t.Errorf("%s cut at %d: the machine outlives its instance", want, cut)
			}
		}
	}
}

func TestErrorStopsTheMachineAndNothingElse(t *testing.T) {
	i := &spec.Instance{Status: spec.InstanceStatus{State: spec.StateError}}
	if s := Next(i, Host{Machine: &driver.Status{State: driver.Running}}); s != Destroy {
		t.Error(s)
	}
	if s := Next(i, Host{}); s != None {
		t.Error(s)
	}
}
