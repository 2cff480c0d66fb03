package fake

import (
	"context"
	"slices"
)

// Call is one call of a Hypervisor's or Volumes' method.
type Call struct {
	Method string // "Start", "Volumes.Build"
	ID     string // of the machine or instance, or the image's name
	N      int    // counts the calls of Method on this host, from 1
	Done   bool   // the call took effect and is about to return
}

// Hook is called around calls; see Config.Hook.
type Hook func(ctx context.Context, c Call) error

// Fault makes matching calls go wrong. Several may be set; the first that fires wins.
type Fault struct {
	Method string // of the call; empty matches all
	ID     string // of the call; empty matches all
	// Nth fires on the n-th matching call only and is then spent; 0 fires on
	// every one until Heal.
	Nth int
	// After lets the call take effect first: its reply is what is lost.
	After bool
	// Err is what the caller gets.
	Err error
	// Hang makes the call wait until its context is done.
	Hang bool
	// Wait, if set, is called to delay the call; its error ends the call.
	Wait func(ctx context.Context) error
}

// faults decide what goes wrong. The Host's lock guards all but hook.
type faults struct {
	hook  Hook
	rules []*Fault
	calls map[string]int
}

// Fault adds a fault.
func (h *Host) Fault(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults.rules = append(h.faults.rules, &f)
}

// Heal removes all faults. Calls that wait already go on waiting.
func (h *Host) Heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults.rules = nil
}

// Calls returns how often a method has been called, failed calls included.
func (h *Host) Calls(method string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.faults.calls[method]
}

// call runs act under the lock with what hooks and faults do around it.
func (h *Host) call(ctx context.Context, method, id string, act func() error) error {
	h.mu.Lock()
	h.faults.calls[method]++
	c := Call{Method: method, ID: id, N: h.faults.calls[method]}
	fired := h.faults.take(c)
	h.mu.Unlock()

	if fired != nil && !fired.After {
		if err := fired.happen(ctx); err != nil {
			return err
		}
	}
	if err := h.faults.run(ctx, c); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	err := act()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if fired != nil && fired.After {
		if err := fired.happen(ctx); err != nil {
			return err
		}
	}
	c.Done = true
	return h.faults.run(ctx, c)
}

func (f *faults) run(ctx context.Context, c Call) error {
	if f.hook == nil {
		return nil
	}
	return f.hook(ctx, c)
}

// take counts the call against every rule and returns the first that fires.
func (f *faults) take(c Call) (fired *Fault) {
	f.rules = slices.DeleteFunc(f.rules, func(r *Fault) bool {
		if r.Method != "" && r.Method != c.Method || r.ID != "" && r.ID != c.ID {
			return false
		}
		if r.Nth > 1 {
			r.Nth--
			return false
		}
		if fired == nil {
			fired = r
			return r.Nth == 1
		}
		return false
	})
	return fired
}

func (f *Fault) happen(ctx context.Context) error {
	if f.Wait != nil {
		if err := f.Wait(ctx); err != nil {
			return err
		}
	}
	if f.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.Err
}
