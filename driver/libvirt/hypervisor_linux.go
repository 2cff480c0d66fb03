package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/calls"
	"github.com/shakenfist/cloud/driver/internal/events"
	"github.com/shakenfist/cloud/driver/internal/host"
	"github.com/shakenfist/cloud/driver/internal/token"
)

// Hypervisor runs machines through libvirt. Besides driver.Hypervisor it is a
// driver.Pauser, Resetter, Rebooter, Consoler, Displayer, Snapshotter and Stater.
type Hypervisor struct {
	cfg    Config
	reg    registry
	lock   *os.File
	boot   string // the host's
	events events.Hub
	calls  *calls.Group

	probing token.Token // of who probes
	probed  *probe

	mu       sync.Mutex
	where    *place // of libvirtd, as of the last connection
	eye      *conn  // of queries and events; nil while libvirtd is away
	machines map[string]*machine
}

var (
	_ driver.Hypervisor  = (*Hypervisor)(nil)
	_ driver.Pauser      = (*Hypervisor)(nil)
	_ driver.Resetter    = (*Hypervisor)(nil)
	_ driver.Rebooter    = (*Hypervisor)(nil)
	_ driver.Consoler    = (*Hypervisor)(nil)
	_ driver.Displayer   = (*Hypervisor)(nil)
	_ driver.Snapshotter = (*Hypervisor)(nil)
	_ driver.Stater      = (*Hypervisor)(nil)
)

// New opens the driver over a libvirtd, which need not answer yet: New waits for
// it no longer than cfg.Timeout and ctx, and goes on without. Machines that run
// already are adopted as soon as it answers.
func New(ctx context.Context, cfg Config) (*Hypervisor, error) {
	cfg = cfg.withDefaults()
	boot, err := host.BootID()
	if err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	reg, lock, err := openRegistry(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("libvirt: registry: %w", err)
	}
	h := &Hypervisor{
		cfg: cfg, reg: reg, lock: lock, boot: boot, events: events.Hub{Driver: "libvirt"}, calls: calls.New("libvirt: hypervisor"),
		probing: token.New(), machines: map[string]*machine{},
	}
	ids, err := reg.ids()
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("libvirt: registry: %w", err)
	}
	for _, id := range ids {
		if e, ok := reg.load(id); ok {
			h.machines[id] = newMachine(h, id, e, true)
		}
	}
	first := make(chan struct{})
	h.calls.Go(func() { h.watch(sync.OnceFunc(func() { close(first) })) })
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	select {
	case <-first:
	case <-ctx.Done():
		cfg.Log.Warn("libvirtd does not answer; it is waited for", "socket", cfg.Socket)
	}
	return h, nil
}

// enter begins a call, which ends with leave, or with its context when the driver is
// closed.
func (h *Hypervisor) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	return h.calls.Enter(ctx)
}

// hold returns the entry of a machine, made where there is none, and keeps it in
// the list until drop.
func (h *Hypervisor) hold(id string) *machine {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil {
		m = newMachine(h, id, entry{Note: note{State: driver.Defined}}, false)
		h.machines[id] = m
	}
	m.holders++
	return m
}

// drop gives an entry back; one without a machine goes with its last holder.
func (h *Hypervisor) drop(m *machine) {
	known := m.known()
	h.mu.Lock()
	defer h.mu.Unlock()
	m.holders--
	if m.holders == 0 && !known && h.machines[m.id] == m {
		delete(h.machines, m.id)
	}
}

// with runs an operation on one machine that exists, under its lock.
func (h *Hypervisor) with(ctx context.Context, id string, act func(context.Context, *machine) error) error {
	return h.locked(ctx, id, func(ctx context.Context, m *machine) error {
		if _, err := m.sync(ctx); err != nil {
			return err
		}
		return act(ctx, m)
	})
}

// locked runs an operation under a machine's lock, whether it exists or not.
func (h *Hypervisor) locked(ctx context.Context, id string, act func(context.Context, *machine) error) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	m := h.hold(id)
	defer h.drop(m)
	if err := m.op.Take(ctx); err != nil {
		return fmt.Errorf("libvirt: machine %s: %w", id, err)
	}
	defer m.op.Give()
	if err := act(ctx, m); err != nil {
		return fmt.Errorf("libvirt: machine %s: %w", id, err)
	}
	return nil
}

// Create implements driver.Hypervisor.
func (h *Hypervisor) Create(ctx context.Context, spec driver.Spec) error {
	info, err := h.Info(ctx)
	if err != nil {
		return err
	}
	if err := driver.Check(spec, info); err != nil {
		return fmt.Errorf("libvirt: machine %s: %w", spec.ID, err)
	}
	if err := checkRoom(spec); err != nil {
		return fmt.Errorf("libvirt: machine %s: %w", spec.ID, err)
	}
	spec.Disks, spec.NICs = slices.Clone(spec.Disks), slices.Clone(spec.NICs)
	return h.locked(ctx, spec.ID, func(ctx context.Context, m *machine) error { return m.define(ctx, spec) })
}

// Inspect implements driver.Hypervisor. It waits for no machine, only for libvirt.
func (h *Hypervisor) Inspect(ctx context.Context, id string) (driver.Status, error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return driver.Status{}, err
	}
	defer leave()
	m := h.hold(id)
	defer h.drop(m)
	s, err := m.sync(ctx)
	if err != nil {
		return driver.Status{}, fmt.Errorf("libvirt: machine %s: %w", id, err)
	}
	return s, nil
}

// List implements driver.Hypervisor, sorted by ID. One question to libvirt tells
// of all machines.
func (h *Hypervisor) List(ctx context.Context) ([]driver.Status, error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	all, err := h.survey(ctx)
	if err != nil {
		return nil, fmt.Errorf("libvirt: list: %w", err)
	}
	var list []driver.Status
	for id, s := range all {
		st, ours, err := h.statusOf(ctx, id, s)
		if err != nil {
			return nil, fmt.Errorf("libvirt: machine %s: %w", id, err)
		}
		if ours {
			list = append(list, st)
		}
	}
	slices.SortFunc(list, func(a, b driver.Status) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// statusOf is one machine of a survey; looked at again where the survey says
// something new.
func (h *Hypervisor) statusOf(ctx context.Context, id string, s seen) (st driver.Status, ours bool, err error) {
	m := h.hold(id)
	defer h.drop(m)
	if st, ok := m.unchanged(s); ok {
		return st, true, nil
	}
	st, err = m.sync(ctx)
	if errors.Is(err, driver.ErrNotFound) { // gone since, or another owner's
		return st, false, nil
	}
	return st, true, err
}

// survey asks libvirt for the state of all domains that are named like ours.
func (h *Hypervisor) survey(ctx context.Context) (map[string]seen, error) {
	return ask(ctx, h, func(c *conn) (map[string]seen, error) {
		records, err := c.ConnectGetAllDomainStats(nil, uint32(golibvirt.DomainStatsState), 0)
		all := map[string]seen{}
		for _, r := range records {
			if id := textUUID(r.Dom.UUID); r.Dom.Name == domainName(id) {
				all[id] = seen{int32(number(r.Params, "state.state")), int32(number(r.Params, "state.reason"))}
			}
		}
		return all, err
	})
}

// Close implements driver.Hypervisor: it waits for calls under way, which end
// early, and leaves the machines running.
func (h *Hypervisor) Close() error {
	if !h.calls.Close() {
		return nil
	}
	h.mu.Lock()
	eye := h.eye
	var all []*machine
	for _, m := range h.machines {
		all = append(all, m)
	}
	h.mu.Unlock()
	if eye != nil {
		eye.cut()
	}
	h.events.Close()
	for _, m := range all {
		m.console.Close()
	}
	h.calls.Wait()
	return h.lock.Close()
}
