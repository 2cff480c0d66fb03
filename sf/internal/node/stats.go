package node

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/measure"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
	"github.com/shakenfist/cloud/sf/spec"
)

// Stats are measurements of an agent since it was started.
type Stats struct {
	Name      string
	Queues    map[string]reconcile.Depths // "work", "transfers" of images and disks, and "vital": session, routers, fabric
	Work      map[string]WorkStats        // by what is worked on: "instance", "fabric", …
	Failing   int                         // keys whose last try failed
	Instances int                         // that something is remembered of
	Waits     map[string]int              // instances, by what they wait for
	Fetching  int                         // images that are being fetched now
	Followed  int                         // networks that it has a part in
}

// WorkStats are how often something was worked on.
type WorkStats struct {
	Failed int64
	Took   measure.Times
}

// measures are what an agent counts. The zero value is ready to use.
type measures struct {
	fetching atomic.Int64
	mu       sync.Mutex
	work     map[string]*work
}

type work struct {
	failed atomic.Int64
	took   measure.Clock
}

// took counts one handling of a key.
func (m *measures) took(key string, d time.Duration, err error) {
	kind, _, _ := strings.Cut(key, "/")
	m.mu.Lock()
	w := m.work[kind]
	if w == nil {
		if m.work == nil {
			m.work = map[string]*work{}
		}
		w = &work{}
		m.work[kind] = w
	}
	m.mu.Unlock()
	w.took.Took(d)
	if err != nil {
		w.failed.Add(1)
	}
}

// Stats returns the measurements. It asks nobody.
func (a *Agent) Stats() Stats {
	s := Stats{
		Name: a.Name, Fetching: int(a.measures.fetching.Load()), Work: map[string]WorkStats{}, Waits: map[string]int{},
		Queues: map[string]reconcile.Depths{"work": a.queue.Depths(), "transfers": a.slow.Depths(), "vital": a.vital.Depths()},
	}
	a.measures.mu.Lock()
	kinds := maps.Clone(a.measures.work)
	a.measures.mu.Unlock()
	for kind, w := range kinds {
		s.Work[kind] = WorkStats{w.failed.Load(), w.took.Times()}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Failing, s.Instances, s.Followed = len(a.failures), len(a.instances), len(a.view.work)
	for _, i := range a.instances {
		if i.waits != "" {
			s.Waits[i.waits]++
		}
	}
	return s
}

// fetchImage is Fetch, counted.
func (a *Agent) fetchImage(ctx context.Context, ref driver.ImageRef, report func(driver.Progress)) (driver.Image, error) {
	a.measures.fetching.Add(1)
	defer a.measures.fetching.Add(-1)
	return a.Volumes.Fetch(ctx, ref, report)
}

// noteWait remembers what an instance waits for.
func (a *Agent) noteWait(i *spec.Instance) {
	what := ""
	if i.Status.Wait != nil && i.Deletion == nil {
		what = waitFor(i.Status.Wait.Reason)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.instances[i.UUID]; m != nil {
		m.waits = what
	}
}

// waitFor is the reason of a wait without what differs from one to the next, of which
// there are few.
func waitFor(reason string) string {
	for _, few := range []string{"its image", "its network ports", "another try", "room on the host's disk", "the guest to shut itself down", "the copy of its disks to end", "this node to hold its session again"} {
		if strings.HasPrefix(reason, few) {
			return few
		}
	}
	return "something else"
}
