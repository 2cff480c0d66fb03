package node

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/lifecycle"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// instance is what the agent remembers of an instance beyond its records. All of
// it can be found out anew.
type instance struct {
	fetch   fetchState
	built   []driver.Disk // the volumes, once made
	volumes []spec.VolumeState
	removed bool // the volumes are gone
	detach  bool // the ports are to leave the fabric
	console consoleState
	boots   int64  // last reported
	waits   string // for what, in the words of its status; empty for nothing

	ops          map[string]*opTimes // of its operations that have not ended, by ID
	trouble, ask reckoned

	starting bool // nobody is to begin a copy of its disks
}

// of returns what is remembered of an instance.
func (a *Agent) of(id string) *instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.instances[id]
	if m == nil {
		m = &instance{}
		a.instances[id] = m
	}
	return m
}

func (a *Agent) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.instances[id]; m != nil {
		if m.fetch.cancel != nil {
			m.fetch.cancel()
		}
		if m.detach {
			a.fabric.ended[id] = true
		}
	}
	delete(a.instances, id)
}

// stepLimit bounds the steps of one handling, so that no decision table can spin.
const stepLimit = 32

// reconcileInstance takes an instance as far as it can go now.
func (a *Agent) reconcileInstance(ctx context.Context, id string) (time.Duration, error) {
	for range stepLimit {
		i, err := a.load(ctx, id)
		if missing(err) {
			return never, a.clear(ctx, id)
		}
		if err != nil {
			return 0, err
		}
		if i.Node != a.Name {
			return never, a.vacate(ctx, i)
		}
		if i.Deletion.Gone() {
			return never, a.clear(ctx, id)
		}
		host, err := a.observe(ctx, i)
		if err != nil {
			return 0, err
		}
		step := lifecycle.Next(i, host)
		after, err := a.execute(ctx, i, host, step)
		if err != nil {
			return a.failed(ctx, i, step, err)
		}
		if after != again {
			return after, nil
		}
	}
	return 0, fmt.Errorf("instance %s: no rest after %d steps", id, stepLimit)
}

// vacate removes what is here of an instance that was started again elsewhere.
func (a *Agent) vacate(ctx context.Context, i *spec.Instance) error {
	work, err := record.Get[claims.Empty](ctx, a.Records, record.WorkKey(a.Name, spec.KindInstance, i.UUID))
	if ignoreMissing(err) != nil {
		return err
	}
	if gone := a.clear(ctx, i.UUID); gone != nil || err != nil {
		return gone
	}
	// An instance that came back here meanwhile wrote the entry again.
	t := a.Records.Begin().If(store.RevisionIs(work.Key, work.Revision)).Delete(work.Key)
	if _, err = a.Records.Commit(ctx, t); errors.Is(err, store.ErrConflict) {
		a.queue.Add(keyInstance + i.UUID)
		return nil
	}
	return err
}

// clear removes what this host has of an instance that is not its own any more.
func (a *Agent) clear(ctx context.Context, id string) error {
	a.closePorts(id)
	if err := a.Hypervisor.Destroy(ctx, id); err != nil {
		return fmt.Errorf("destroy the stale machine of instance %s: %w", id, err)
	}
	if err := a.Volumes.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove the stale volumes of instance %s: %w", id, err)
	}
	a.forget(id)
	a.vital.Add(keyFabric)
	return nil
}

// again is the answer of a step after which another is to be decided.
const again = -2

func (a *Agent) load(ctx context.Context, id string) (*spec.Instance, error) {
	o, err := record.Get[spec.Instance](ctx, a.Records, record.InstanceKey(id))
	if err != nil {
		return nil, err
	}
	s, err := record.Get[spec.InstanceStatus](ctx, a.Records, record.InstanceStatusKey(id))
	if err != nil {
		return nil, err
	}
	i := o.Value
	i.Status = s.Value
	return &i, nil
}

// observe finds out what the host has of an instance.
func (a *Agent) observe(ctx context.Context, i *spec.Instance) (lifecycle.Host, error) {
	var h lifecycle.Host
	m, err := a.Hypervisor.Inspect(ctx, i.UUID)
	switch {
	case err == nil:
		h.Machine = &m
	case !errors.Is(err, driver.ErrNotFound):
		return h, fmt.Errorf("inspect machine %s: %w", i.UUID, err)
	}
	mem := a.of(i.UUID)
	a.mu.Lock()
	defer a.mu.Unlock()
	h.Fetched = mem.fetch.done
	h.Built = mem.built != nil
	h.Removed = mem.removed
	h.Attached, h.Detached = a.fabric.has(i.NICs)
	h.Fenced = err == nil && m.State == driver.Crashed && a.fenced(m.Since)
	return h, nil
}

// execute does one step. Each can be repeated from any point.
func (a *Agent) execute(ctx context.Context, i *spec.Instance, h lifecycle.Host, step lifecycle.Step) (time.Duration, error) {
	id := i.UUID
	switch step {
	case lifecycle.Begin:
		return again, a.report(ctx, i, func(s *spec.InstanceStatus) { s.State = spec.StateCreating })
	case lifecycle.Fetch:
		return a.waitForImages(ctx, i)
	case lifecycle.Attach:
		return a.waitForPorts(ctx, i, false)
	case lifecycle.Build:
		return again, a.build(ctx, i)
	case lifecycle.Define:
		return a.define(ctx, i)
	case lifecycle.Start:
		return a.start(ctx, i)
	case lifecycle.Pause, lifecycle.Resume:
		return again, a.pause(ctx, id, step == lifecycle.Pause)
	case lifecycle.Stop:
		return a.stop(ctx, i)
	case lifecycle.Settle:
		return a.settle(ctx, i, h)
	case lifecycle.Destroy:
		a.closePorts(id)
		return again, a.Hypervisor.Destroy(ctx, id)
	case lifecycle.Remove:
		return again, a.remove(ctx, id)
	case lifecycle.Detach:
		return a.waitForPorts(ctx, i, true)
	case lifecycle.Final:
		if busy, err := a.operating(ctx, id); busy || err != nil {
			a.queue.Add(keyOps + id)
			return showAfter, err
		}
		if err := claims.FinalizeInstance(ctx, a.Records, id, a.Clock.Now(), a.Keep); err != nil {
			return 0, err
		}
		a.forget(id)
		a.queue.Add(keyJanitor)
		return never, nil
	}
	return never, nil
}

// start runs the machine, unless somebody else might.
func (a *Agent) start(ctx context.Context, i *spec.Instance) (time.Duration, error) {
	if !a.owns() {
		return time.Second, a.wait(ctx, i, "this node to hold its session again", time.Second, nil)
	}
	if !a.holdCopies(i.UUID) { // their end wakes us
		return showAfter, a.wait(ctx, i, "the copy of its disks to end", showAfter, nil)
	}
	defer a.releaseCopies(i.UUID)
	if err := a.Hypervisor.Start(ctx, i.UUID); err != nil {
		return 0, fmt.Errorf("start: %w", err)
	}
	return again, nil
}

// askAgain is how often a guest is asked to shut itself down.
const askAgain = 5 * time.Second

// stop pulls the plug, where that is wanted after asking the guest for a while.
func (a *Agent) stop(ctx context.Context, i *spec.Instance) (time.Duration, error) {
	left := a.askLeft(i)
	if left <= 0 {
		return again, a.Hypervisor.Stop(ctx, i.UUID, driver.Force)
	}
	if err := a.Hypervisor.Stop(ctx, i.UUID, driver.Graceful); err != nil {
		return 0, err
	}
	next := min(left, askAgain)
	return next, a.wait(ctx, i, "the guest to shut itself down", next, nil)
}

func (a *Agent) pause(ctx context.Context, id string, pause bool) error {
	p, ok := driver.As[driver.Pauser](a.Hypervisor)
	switch {
	case !ok:
		return fmt.Errorf("pause: %w by this hypervisor", errors.ErrUnsupported)
	case pause:
		return p.Pause(ctx, id)
	}
	return p.Resume(ctx, id)
}

func (a *Agent) remove(ctx context.Context, id string) error {
	a.cancelFetch(id)
	if err := a.Volumes.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	m := a.of(id)
	a.mu.Lock()
	m.removed, m.detach = true, true
	a.mu.Unlock()
	a.vital.Add(keyFabric)
	return nil
}

// settle reports what is so, and says when to look again without an event.
func (a *Agent) settle(ctx context.Context, i *spec.Instance, h lifecycle.Host) (time.Duration, error) {
	_, power, ended := lifecycle.Power(i.Power, i.Status, h.Machine.State)
	opened := i.Status // opening is done once, however often the report is tried
	if h.Machine.State.On() {
		a.openPorts(ctx, i.UUID, &opened)
	}
	err := a.report(ctx, i, func(s *spec.InstanceStatus) {
		s.State, s.Error, s.Wait, s.Trouble = spec.StateCreated, "", nil, time.Time{}
		s.Generation, s.Boot, s.Resets, s.Ended = i.Power.Generation, h.Machine.Boot, h.Machine.Resets, ""
		if s.Power != power {
			s.PowerBefore, s.Power, s.PowerSince = s.Power, power, a.Clock.Now()
		}
		if ended {
			s.Ended = cmpOr(h.Machine.Reason, i.Status.Ended, "the guest shut itself down")
		}
		if h.Machine.State.On() {
			s.ConsolePort, s.VDIPort = opened.ConsolePort, opened.VDIPort
		}
		if h.Machine.State == driver.Stalled {
			s.Wait = a.since(i, cmpOr(h.Machine.Reason, "room on the host's disk; the guest is stopped until then"))
		}
	})
	if err != nil {
		return 0, err
	}
	a.reported(i)
	if !h.Machine.State.On() {
		a.closePorts(i.UUID)
	}
	if power == spec.PowerOn {
		a.queue.Add(keyConsole + i.UUID)
	}
	return never, nil
}

// reported notes which boot of a guest the status tells of. Whoever waits for a new
// one, or for the end of the last, is to look.
func (a *Agent) reported(i *spec.Instance) {
	m := a.of(i.UUID)
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.boots != i.Status.Boots() || i.Status.Power != spec.PowerOn {
		a.queue.Add(keyOps + i.UUID)
	}
	m.boots = i.Status.Boots()
}

func cmpOr(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// report changes an instance's status record, with the events that this is worth.
// Nothing is written where nothing changed.
func (a *Agent) report(ctx context.Context, i *spec.Instance, change func(*spec.InstanceStatus)) error {
	now := a.Clock.Now()
	o, err := record.Update(ctx, a.Records, record.InstanceStatusKey(i.UUID), func(s *spec.InstanceStatus, t *record.Txn) error {
		was := *s
		change(s)
		if reflect.DeepEqual(was, *s) {
			return record.ErrUnchanged
		}
		// It may have been placed elsewhere, or ended for us, since it was read.
		still, err := record.Get[spec.Instance](ctx, a.Records, record.InstanceKey(i.UUID))
		if missing(err) || err == nil && (still.Value.Node != a.Name || still.Value.Deletion.Gone()) {
			return record.ErrUnchanged
		}
		if err != nil {
			return err
		}
		t.If(store.RevisionIs(still.Key, still.Revision))
		if s.State != was.State {
			s.Since = now
			if err := a.Records.Event(ctx, t, a.event(spec.KindInstance, i.UUID, "state changed", fmt.Sprintf("%s -> %s", was.State, s.State), s.Error)); err != nil {
				return err
			}
		} else if s.Power == was.Power && s.Boots() > was.Boots() {
			return a.Records.Event(ctx, t, a.event(spec.KindInstance, i.UUID, spec.EventRestarted, "", fmt.Sprintf("boot %d", s.Boots())))
		} else if s.Power != was.Power {
			return a.Records.Event(ctx, t, a.event(spec.KindInstance, i.UUID, "power changed", fmt.Sprintf("%s -> %s", was.Power, s.Power), s.Ended))
		}
		return nil
	})
	if err == nil {
		i.Status = o.Value
		a.noteWait(i)
	}
	return err
}

// since makes a Wait that keeps its beginning while its reason stays the same.
func (a *Agent) since(i *spec.Instance, reason string) *spec.Wait {
	w := &spec.Wait{Reason: reason, Since: a.Clock.Now()}
	if !i.Status.Trouble.IsZero() {
		w.Since = i.Status.Trouble
	}
	if was := i.Status.Wait; was != nil && was.Reason == reason {
		w.Since, w.Attempts = was.Since, was.Attempts
	}
	return w
}

// wait reports what an instance waits for, and until when if that is known.
func (a *Agent) wait(ctx context.Context, i *spec.Instance, reason string, next time.Duration, add func(*spec.Wait)) error {
	w := a.since(i, reason)
	if next > 0 {
		w.Next = a.Clock.Now().Add(next)
	}
	if add != nil {
		add(w)
	}
	return a.report(ctx, i, func(s *spec.InstanceStatus) { s.Wait = w })
}
