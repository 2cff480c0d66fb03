// Package fake is a network fabric in memory: it follows netfab's contract and
// carries no frames. It executes the same steps as a real one, one at a time,
// each of which a test can fail or be killed at; it has no goroutine, clock or
// randomness, so the same calls give the same fabric.
package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Config describes a fabric. The zero Config has a host of its own.
type Config struct {
	// Host is the simulated machine, which outlives the Fabric: a new Fabric over
	// the same Host is a restarted process. Nil means a new one.
	Host *Host
	// Tag says whose things on the host are ours ("cluster/node").
	Tag string
	// Hook, if not nil, is called before each call ("apply", "observe", "frames", "keep")
	// and before each step of an Apply (the step's text). Its error takes the place
	// of the call or step; netfab.ErrAborted ends the Apply there. It must not call
	// the Fabric.
	Hook func(what string) error
	// Now is the clock of Keep; nil is one that stands still.
	Now func() time.Time
}

// Fabric is one process's hold on a simulated host.
type Fabric struct {
	host *Host
	tag  string
	hook func(string) error
	now  func() time.Time
	mu   sync.Mutex // serializes Apply
}

var (
	_ netfab.Fabric = (*Fabric)(nil)
	_ netfab.Keeper = (*Fabric)(nil)
)

// New returns a fabric over cfg.Host.
func New(cfg Config) *Fabric {
	f := &Fabric{host: cfg.Host, tag: cfg.Tag, hook: cfg.Hook, now: cfg.Now}
	if f.host == nil {
		f.host = NewHost()
	}
	if f.hook == nil {
		f.hook = func(string) error { return nil }
	}
	if f.now == nil {
		f.now = func() time.Time { return time.Time{} }
	}
	return f
}

// Keep lets fenced routers work for d; Host.Routes tells whether they do.
func (f *Fabric) Keep(ctx context.Context, d time.Duration) error {
	until := f.now().Add(d)
	if err := f.enter(ctx, "keep"); err != nil {
		return err
	}
	f.host.keep(f.tag, until)
	return nil
}

// Host returns the simulated machine.
func (f *Fabric) Host() *Host { return f.host }

// Apply makes the simulated host equal to want.
func (f *Fabric) Apply(ctx context.Context, want netfab.Desired) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter(ctx, "apply"); err != nil {
		return err
	}
	want, bad, err := netfab.Normalize(want)
	if err != nil {
		return err
	}
	return netfab.Run(ctx, netfab.Diff(want, f.host.observe(f.tag)), bad, func(s netfab.Step) error {
		return f.step(ctx, s)
	})
}

// step executes one step, unless the hook has it fail.
func (f *Fabric) step(ctx context.Context, s netfab.Step) error {
	if err := f.enter(ctx, s.String()); err != nil {
		return err
	}
	if s.Op == netfab.NetworkAdd {
		if name := f.netns(s.VNI); f.host.occupied(name) {
			return fmt.Errorf("%w: namespace %s exists and does not carry the tag %q: remove it or choose another tag",
				netfab.ErrForeign, name, f.tag)
		}
	}
	f.host.execute(f.tag, s)
	return nil
}

func (f *Fabric) enter(ctx context.Context, what string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.hook(what)
}

// Observe reports what of this tag is on the simulated host.
func (f *Fabric) Observe(ctx context.Context) (netfab.Observed, error) {
	if err := f.enter(ctx, "observe"); err != nil {
		return netfab.Observed{}, err
	}
	return f.host.observe(f.tag), nil
}

// Attachment names a tap that nobody can open.
func (f *Fabric) Attachment(networkID string, vni uint32, portID string) netfab.Attachment {
	return netfab.Attachment{Tap: netfab.TapName(portID), NetNS: "/run/netns/" + f.netns(vni)}
}

func (f *Fabric) netns(vni uint32) string { return netfab.NamespaceName(f.tag, vni) }

// Frames finds the network and returns errors.ErrUnsupported: there are no frames here.
func (f *Fabric) Frames(ctx context.Context, networkID string) (io.ReadWriteCloser, error) {
	if err := f.enter(ctx, "frames"); err != nil {
		return nil, err
	}
	for _, n := range f.host.observe(f.tag).Networks {
		if n.ID == networkID {
			return nil, fmt.Errorf("fake fabric carries no frames: %w", errors.ErrUnsupported)
		}
	}
	return nil, fmt.Errorf("%w: %s", netfab.ErrNotFound, networkID)
}

// Close changes nothing.
func (f *Fabric) Close() error { return nil }
