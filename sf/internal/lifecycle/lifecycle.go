// Package lifecycle decides what an instance's node does next. It is pure: what
// is wanted, what was reported and what the host shows go in, one step comes out.
// Executing a step has no choices left, and every step can be repeated.
package lifecycle

import (
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/spec"
)

// Step is one thing to do.
type Step string

// Steps in the order of a life.
const (
	Begin   Step = "begin"   // report that the node is at work
	Fetch   Step = "fetch"   // make the images present
	Attach  Step = "attach"  // wait for the ports to be in the fabric
	Build   Step = "build"   // make the volumes
	Define  Step = "define"  // create the machine
	Start   Step = "start"   // run it
	Pause   Step = "pause"   //
	Resume  Step = "resume"  //
	Stop    Step = "stop"    // at once
	Settle  Step = "settle"  // report what is so; nothing else to do
	Destroy Step = "destroy" // the machine
	Remove  Step = "remove"  // the volumes
	Detach  Step = "detach"  // wait for the ports to be out of the fabric
	Final   Step = "final"   // report the end and release the claims
	None    Step = "none"    // nothing, not even to report
)

// Host is what the node knows of an instance on its host.
type Host struct {
	Fetched  bool           // the images are present
	Attached bool           // the fabric has the ports
	Built    bool           // the volumes exist
	Machine  *driver.Status // nil when the driver does not know it
	Removed  bool           // the volumes are gone
	Detached bool           // the fabric does not have the ports any more
	Fenced   bool           // the machine crashed since the node's own guard ended it
}

// Next returns the next step for an instance.
func Next(i *spec.Instance, h Host) Step {
	switch {
	case i.Deletion.Gone():
		return None
	case i.Deletion != nil:
		return nextOfDelete(h)
	case i.Status.State == spec.StateError:
		return nextOfError(h)
	case i.Status.State == spec.StateInitial || i.Status.State == "":
		return Begin
	case h.Machine == nil:
		return nextOfCreate(h)
	case h.Fenced: // and is made and started anew, as if it had not been there
		return Destroy
	}
	step, _, _ := Power(i.Power, i.Status, h.Machine.State)
	if step == Start && !h.Attached {
		return Attach
	}
	return step
}

func nextOfDelete(h Host) Step {
	switch {
	case h.Machine != nil:
		return Destroy
	case !h.Removed:
		return Remove
	case !h.Detached:
		return Detach
	}
	return Final
}

// nextOfError keeps a failed instance from running. Its volumes and claims stay
// until it is deleted, for whoever wants to look.
func nextOfError(h Host) Step {
	if h.Machine != nil {
		return Destroy
	}
	return None
}

func nextOfCreate(h Host) Step {
	switch {
	case !h.Built && !h.Fetched:
		return Fetch
	case !h.Attached:
		return Attach
	case !h.Built:
		return Build
	}
	return Define
}

// Power decides what to do about an instance's power: the step, what its power
// is meanwhile, and whether the wish ended by itself, so that nobody restarts a
// guest that shut itself down.
func Power(want spec.Power, was spec.InstanceStatus, m driver.State) (step Step, is spec.PowerState, ended bool) {
	is = powerOf(m)
	answered := was.Generation == want.Generation
	selfEnded := answered && (m == driver.Stopped || m == driver.Crashed || m == driver.Defined && was.Ended != "")
	switch want.Want {
	case spec.PowerOff:
		if m.On() {
			return Stop, is, false
		}
		return Settle, spec.PowerOff, false
	case spec.PowerPaused:
		switch {
		case m == driver.Running:
			return Pause, is, false
		case m.On():
			return Settle, spec.PowerPaused, false
		}
	default:
		switch m {
		case driver.Paused:
			return Resume, is, false
		case driver.Running, driver.Stalled:
			return Settle, spec.PowerOn, false
		}
	}
	if selfEnded {
		return Settle, is, true
	}
	return Start, is, false
}

func powerOf(m driver.State) spec.PowerState {
	switch m {
	case driver.Running, driver.Stalled:
		return spec.PowerOn
	case driver.Paused:
		return spec.PowerPaused
	case driver.Crashed:
		return spec.PowerCrashed
	}
	return spec.PowerOff
}
