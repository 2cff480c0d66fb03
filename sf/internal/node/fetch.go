package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/spec"
)

// fetchState is how far the images of an instance are. The fetch runs under a
// key of its own, so that a download never keeps a deletion waiting.
type fetchState struct {
	running  bool
	done     bool
	images   []driver.Image // by index of disk; zero for a blank one
	progress driver.Progress
	err      error
	failures int
	cancel   context.CancelFunc
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
	m.fetch.err = nil
	if !f.running {
		m.fetch.running = true
	}
	a.mu.Unlock()
	switch {
	case f.err != nil:
		return a.retryFetch(ctx, i, f)
	case !f.running:
		a.queue.Add(keyFetch + i.UUID)
		return showAfter, nil
	}
	reason := "its image: " + cmpOr(f.progress.Stage, "starting")
	return showAfter, a.wait(ctx, i, reason, 0, func(w *spec.Wait) {
		w.Done, w.Total = f.progress.Done, f.progress.Total
	})
}

func (a *Agent) retryFetch(ctx context.Context, i *spec.Instance, f fetchState) (time.Duration, error) {
	if permanent(f.err) || a.gaveUp(i) {
		return never, a.fail(ctx, i, f.err)
	}
	next := reconcile.Backoff(f.failures)
	a.queue.AddAfter(keyFetch+i.UUID, next)
	return never, a.wait(ctx, i, "its image: "+f.err.Error(), next, func(w *spec.Wait) { w.Attempts = f.failures })
}

// fetch makes the images of an instance present. It runs to its end, or until
// the instance is deleted.
func (a *Agent) fetch(ctx context.Context, id string) error {
	i, err := a.load(ctx, id)
	if missing(err) || err == nil && i.Deletion != nil {
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
	m.fetch.running, m.fetch.cancel = false, nil
	if m.fetch.err = err; err != nil {
		m.fetch.failures++
	} else {
		m.fetch.done, m.fetch.images, m.fetch.failures = true, images, 0
	}
	a.mu.Unlock()
	a.queue.Add(keyInstance + id)
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
		if d.Base == "" {
			continue
		}
		var err error
		images[k], err = a.Volumes.Fetch(ctx, driver.ImageRef{Name: d.Base, Trusted: i.Namespace == spec.System}, report)
		if err != nil {
			return nil, fmt.Errorf("disk %d, image %s: %w", k, d.Base, err)
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
	if building && (permanent(err) || a.gaveUp(i)) {
		return never, a.fail(ctx, i, err)
	}
	attempts := 1
	if w := i.Status.Wait; w != nil {
		attempts = w.Attempts + 1
	}
	reason := fmt.Sprintf("another try to %s: %v", step, err)
	report := a.wait(ctx, i, reason, reconcile.Backoff(attempts), func(w *spec.Wait) {
		w.Attempts = attempts
		if was := i.Status.Wait; was != nil && was.Attempts > 0 {
			w.Since = was.Since // the same trouble, whatever its words
		}
	})
	return 0, errors.Join(err, report)
}

// gaveUp reports whether an instance has been in trouble for too long.
func (a *Agent) gaveUp(i *spec.Instance) bool {
	w := i.Status.Wait
	return w != nil && w.Attempts > 0 && a.Clock.Now().Sub(w.Since) > giveUpAfter
}

// fail ends an instance's creation in error.
func (a *Agent) fail(ctx context.Context, i *spec.Instance, cause error) error {
	err := a.report(ctx, i, func(s *spec.InstanceStatus) {
		s.State, s.Error, s.Wait = spec.StateError, cause.Error(), nil
	})
	a.queue.Add(keyInstance + i.UUID) // a machine may be left to destroy
	return err
}

func permanent(err error) bool {
	return errors.Is(err, driver.ErrPermanent) || errors.Is(err, driver.ErrInvalid) || errors.Is(err, errors.ErrUnsupported)
}
