package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/spec"
)

// fetchState is how far the images of an instance are. The fetch runs under a
// key of its own and on workers of its own, so that a download never keeps
// anything else waiting.
type fetchState struct {
	running   bool   // due, or under way
	namespace string // on whose account it is
	done      bool
	images    []driver.Image // by index of disk; zero for a blank one
	progress  driver.Progress
	failed    driver.Progress // when it failed last
	err       error           // of the last try
	next      time.Time       // when another is due
	failures  int             // in a row
	cancel    context.CancelFunc
}

// showAfter is how long a fetch may take before it is worth a line in the status,
// and how often its progress is written.
const showAfter = time.Second

// giveUpAfter is how long something that may yet succeed is tried before the
// instance ends in error.
const giveUpAfter = 10 * time.Minute

// waitForImages starts the fetch, or reports on it.
func (a *Agent) waitForImages(ctx context.Context, i *spec.Instance) (time.Duration, error) {
	m := a.of(i.UUID)
	a.mu.Lock()
	f := m.fetch
	now := a.Clock.Now()
	hopeless := f.err != nil && !f.running && (permanent(f.err) || m.inTrouble(i, now) > giveUpAfter)
	start := !hopeless && !f.running && !now.Before(f.next)
	turn := !start || a.takeTurn(i, m)
	a.mu.Unlock()
	switch {
	case hopeless:
		return never, a.fail(ctx, i, f.err)
	case !turn:
		return showAfter, a.wait(ctx, i, "its image: other transfers of its namespace to end", 0, nil)
	case start:
		a.slow.Add(keyFetch + i.UUID)
		return showAfter, nil
	case !f.running:
		wait := f.next.Sub(now)
		return wait, a.trouble(ctx, i, "its image: "+f.err.Error(), wait, f.failures)
	}
	reason := "its image: " + cmpOr(f.progress.Stage, "starting")
	if f.err != nil {
		reason += fmt.Sprintf(", try %d (before: %v)", f.failures+1, f.err)
	}
	return showAfter, a.wait(ctx, i, reason, 0, func(w *spec.Wait) {
		w.Done, w.Total, w.Attempts = f.progress.Done, f.progress.Total, f.failures
	})
}

// share is how many fetches of one namespace go on at a time: a server of its choice
// may send as slowly as it likes, and is not to keep everybody else waiting.
func share(transfers int) int { return max(1, transfers-max(1, transfers/4)) }

// takeTurn has an instance's images fetched, or puts it in the queue of its namespace;
// a.mu is held.
func (a *Agent) takeTurn(i *spec.Instance, m *instance) bool {
	n := 0
	for _, other := range a.instances {
		if other.fetch.running && other.fetch.namespace == i.Namespace {
			n++
		}
	}
	a.turns = slices.DeleteFunc(a.turns, func(t turn) bool { return t.instance == i.UUID })
	if n >= share(a.Transfers) {
		a.turns = append(a.turns, turn{i.Namespace, i.UUID})
		return false
	}
	m.fetch.running, m.fetch.namespace = true, i.Namespace
	return true
}

// turn is an instance whose images are fetched when others of its namespace are.
type turn struct{ namespace, instance string }

// passTurn has the next of a namespace look. One that is gone passes nothing on: the
// others look by themselves, every showAfter.
func (a *Agent) passTurn(namespace string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := slices.IndexFunc(a.turns, func(t turn) bool { return t.namespace == namespace })
	if k >= 0 {
		a.queue.Add(keyInstance + a.turns[k].instance)
		a.turns = slices.Delete(a.turns, k, k+1)
	}
}

// dropTurn gives up the turn of an instance that needs no images any more.
func (a *Agent) dropTurn(id string) {
	namespace := ""
	a.mu.Lock()
	if m := a.instances[id]; m != nil {
		m.fetch.running, namespace = false, m.fetch.namespace
	}
	a.mu.Unlock()
	a.passTurn(namespace)
}

// fetch makes the images of an instance present. It runs to its end, or until
// the instance is deleted.
func (a *Agent) fetch(ctx context.Context, id string) error {
	i, err := a.load(ctx, id)
	if missing(err) || err == nil && i.Deletion != nil {
		a.dropTurn(id)
		return nil
	}
	if err != nil {
		return err
	}
	m := a.of(id)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	m.fetch.cancel = cancel
	a.mu.Unlock()
	images, err := a.fetchAll(ctx, i, m)
	a.mu.Lock()
	f := &m.fetch
	f.running, f.cancel = false, nil
	moved := f.progress.Done > f.failed.Done || f.progress.Stage != f.failed.Stage
	if f.err = err; err != nil {
		f.failures++
		f.next, f.failed = a.Clock.Now().Add(reconcile.Backoff(f.failures)), f.progress
	} else {
		f.done, f.images, f.failures = true, images, 0
	}
	a.mu.Unlock()
	a.queue.Add(keyInstance + id)
	a.passTurn(i.Namespace)
	if err == nil || moved { // a download that gets on is not in trouble, however often it breaks
		return a.report(ctx, i, func(s *spec.InstanceStatus) { s.Trouble = time.Time{} })
	}
	return nil
}

func (a *Agent) fetchAll(ctx context.Context, i *spec.Instance, m *instance) ([]driver.Image, error) {
	report := func(p driver.Progress) {
		a.mu.Lock()
		m.fetch.progress = p
		a.mu.Unlock()
	}
	images := make([]driver.Image, len(i.Disks))
	for k, d := range i.Disks {
		if d.Base == "" || slices.Contains(i.Brought, k) {
			continue
		}
		var err error
		images[k], err = a.obtain(ctx, driver.ImageRef{Name: d.Base, Trusted: i.Namespace == spec.System}, report)
		if err != nil {
			return nil, fmt.Errorf("disk %d, image %s: %w", k, driver.Redact(d.Base), err)
		}
	}
	return images, nil
}

func (a *Agent) cancelFetch(id string) {
	m := a.of(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.fetch.cancel != nil {
		m.fetch.cancel()
	}
}

// failed decides what a failed step means for an instance: another try, which
// its status announces, or the end.
func (a *Agent) failed(ctx context.Context, i *spec.Instance, step any, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, err
	}
	building := i.Status.State == spec.StateCreating && i.Deletion == nil
	if building && (permanent(err) || a.tooLong(i)) {
		return never, a.fail(ctx, i, err)
	}
	attempts := 1
	if w := i.Status.Wait; w != nil {
		attempts = w.Attempts + 1
	}
	reason := fmt.Sprintf("another try to %s: %v", step, err)
	return 0, errors.Join(err, a.trouble(ctx, i, reason, reconcile.Backoff(attempts), attempts))
}

// trouble reports that something fails and is tried again: since its first
// failure, whatever its words are now.
func (a *Agent) trouble(ctx context.Context, i *spec.Instance, reason string, next time.Duration, attempts int) error {
	now := a.Clock.Now()
	w := &spec.Wait{Reason: reason, Since: now, Next: now.Add(next), Attempts: attempts}
	defer a.tooLong(i) // from now on it is counted
	return a.report(ctx, i, func(s *spec.InstanceStatus) {
		if s.Trouble.IsZero() {
			s.Trouble = now
		}
		if w.Since = s.Trouble; s.Wait != nil && s.Wait.Reason == reason && s.Wait.Attempts == attempts {
			w.Next = s.Wait.Next
		}
		s.Wait = w
	})
}

// tooLong reports whether an instance has been in trouble for too long.
func (a *Agent) tooLong(i *spec.Instance) bool {
	m := a.of(i.UUID)
	a.mu.Lock()
	defer a.mu.Unlock()
	return m.inTrouble(i, a.Clock.Now()) > giveUpAfter
}

// fail ends an instance's creation in error.
func (a *Agent) fail(ctx context.Context, i *spec.Instance, cause error) error {
	err := a.report(ctx, i, func(s *spec.InstanceStatus) {
		s.State, s.Error, s.Wait, s.Trouble = spec.StateError, cause.Error(), nil, time.Time{}
	})
	a.queue.Add(keyInstance + i.UUID) // a machine may be left to destroy
	return err
}

func permanent(err error) bool {
	return errors.Is(err, driver.ErrPermanent) || errors.Is(err, driver.ErrInvalid) || errors.Is(err, errors.ErrUnsupported)
}
