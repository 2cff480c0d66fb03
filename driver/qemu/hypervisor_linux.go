package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/calls"
	"github.com/shakenfist/cloud/driver/internal/events"
)

// Hypervisor runs machines on QEMU. Besides driver.Hypervisor it is a
// driver.Pauser, Resetter, Rebooter, Consoler, Displayer, Snapshotter and Stater.
type Hypervisor struct {
	cfg    Config
	reg    registry
	lock   *os.File
	events events.Hub
	calls  *calls.Group

	probing sync.Mutex // held while probing; guards probed until probeDone
	probed  *probe

	mu       sync.Mutex
	machines map[string]*machine
}

var (
	_ driver.Hypervisor = (*Hypervisor)(nil)
	_ driver.Pauser     = (*Hypervisor)(nil)
	_ driver.Resetter   = (*Hypervisor)(nil)
	_ driver.Rebooter   = (*Hypervisor)(nil)
	_ driver.Consoler   = (*Hypervisor)(nil)
	_ driver.Displayer  = (*Hypervisor)(nil)
	_ driver.Stater     = (*Hypervisor)(nil)

	_ driver.Snapshotter = (*Hypervisor)(nil)
)

// New opens the driver over cfg.Dir and adopts the machines that run already.
// It waits for each of them to answer, together no longer than cfg.Timeout; one
// that does not answer is listed as it was last known and tried again. ctx
// bounds New alone.
func New(ctx context.Context, cfg Config) (*Hypervisor, error) {
	cfg = cfg.withDefaults()
	reg, lock, err := openRegistry(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("qemu: registry: %w", err)
	}
	h := &Hypervisor{cfg: cfg, reg: reg, lock: lock, events: events.Hub{Driver: "qemu"}, calls: calls.New("qemu: hypervisor"), machines: map[string]*machine{}}
	if err := h.adoptAll(ctx); err != nil {
		h.Close()
		return nil, fmt.Errorf("qemu: %w", err)
	}
	h.calls.Go(h.housekeeping)
	return h, nil
}

// adoptAll loads the registry and meets the machines that are on.
func (h *Hypervisor) adoptAll(ctx context.Context) error {
	ids, err := h.reg.ids()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	var met []<-chan struct{}
	for _, id := range ids {
		def, rec, err := h.reg.load(id)
		if errors.Is(err, fs.ErrNotExist) {
			h.reg.remove(id) // a Create or Destroy that did not get further
			continue
		}
		if err != nil {
			return err
		}
		m := newMachine(h, def, rec)
		h.machines[id] = m
		first, err := m.adopt()
		if err != nil {
			return fmt.Errorf("machine %s: whether its emulator runs cannot be told: %w", id, err)
		}
		if first != nil {
			met = append(met, first)
		}
	}
	for _, first := range met {
		select {
		case <-first:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// enter begins a call, which ends with leave, or with its context when the driver is
// closed.
func (h *Hypervisor) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	return h.calls.Enter(ctx)
}

// machine finds one, or ErrNotFound.
func (h *Hypervisor) machine(id string) (*machine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.machines[id]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("qemu: machine %s: %w", id, driver.ErrNotFound)
}

// with runs an operation on one machine under its lock.
func (h *Hypervisor) with(ctx context.Context, id string, act func(context.Context, *machine) error) error {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	m, err := h.machine(id)
	if err != nil {
		return err
	}
	if err := m.op.Take(ctx); err != nil {
		return fmt.Errorf("qemu: machine %s: %w", id, err)
	}
	defer m.op.Give()
	if err := act(ctx, m); err != nil {
		return fmt.Errorf("qemu: machine %s: %w", id, err)
	}
	return nil
}

// Info implements driver.Hypervisor. The first call probes the host, which takes
// some 100 ms, or 2 s where KVM is there but does not work.
func (h *Hypervisor) Info(ctx context.Context) (driver.Info, error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return driver.Info{}, err
	}
	defer leave()
	p, err := h.probe(ctx)
	if err != nil {
		return driver.Info{}, fmt.Errorf("qemu: %w", err)
	}
	return p.Info, nil
}

// Inspect implements driver.Hypervisor. It asks nobody and never waits for a
// machine: state is kept as QEMU and the kernel report it.
func (h *Hypervisor) Inspect(ctx context.Context, id string) (driver.Status, error) {
	_, leave, err := h.enter(ctx)
	if err != nil {
		return driver.Status{}, err
	}
	defer leave()
	m, err := h.machine(id)
	if err != nil {
		return driver.Status{}, err
	}
	s, ok := m.status()
	if !ok {
		return driver.Status{}, fmt.Errorf("qemu: machine %s: %w", id, driver.ErrNotFound)
	}
	return s, nil
}

// List implements driver.Hypervisor, sorted by ID. Like Inspect it never waits.
func (h *Hypervisor) List(ctx context.Context) ([]driver.Status, error) {
	_, leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var list []driver.Status
	for _, m := range h.all() {
		if s, ok := m.status(); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b driver.Status) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

func (h *Hypervisor) all() []*machine {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*machine
	for _, m := range h.machines {
		all = append(all, m)
	}
	return all
}

// forget removes a machine from the list.
func (h *Hypervisor) forget(m *machine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.machines[m.id] == m {
		delete(h.machines, m.id)
	}
}

// Close implements driver.Hypervisor: it waits for calls under way, which end
// early, and leaves the machines running.
func (h *Hypervisor) Close() error {
	if !h.calls.Close() {
		return nil
	}
	h.events.Close()
	h.calls.Wait()
	return h.lock.Close()
}

// bounded limits one exchange with a QEMU.
func (h *Hypervisor) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, h.cfg.Timeout)
}

// housekeeping does what time alone asks for.
func (h *Hypervisor) housekeeping() {
	tick := time.NewTicker(h.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-h.calls.Context().Done():
			return
		case <-tick.C:
		}
		for _, m := range h.all() {
			m.keepHouse()
		}
	}
}
