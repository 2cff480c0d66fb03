//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
)

// Config describes a fabric.
type Config struct {
	// Tag says whose things on the host are ours: "cluster/node", 1 to 64 printable
	// characters without spaces. Two fabrics with different tags on one host leave
	// each other alone; two with the same tag must not run at once.
	Tag string
	// NetNSDir is the directory of namespace names; empty means /run/netns, where
	// `ip netns` looks.
	NetNSDir string
	// HostNetNS is the path of the host's own network namespace, where the underlay
	// and the outside are; empty means that of the thread that calls New.
	HostNetNS string
	// Resync is for how long what was applied is trusted without a look at the
	// kernel: a network that drifted is found by the first Apply after that. Zero
	// means 30 s, negative means that every Apply looks at everything.
	Resync time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told what each Apply changes, at level Debug; nil discards.
	Logger *slog.Logger
	// Hook, if not nil, is called before every change of the host with its text.
	// Its error takes the place of the change; netfab.ErrAborted ends the Apply
	// there, as the death of the process would. For tests.
	Hook func(what string) error
}

// Fabric is the network fabric of one host.
type Fabric struct {
	names  names
	dir    string
	host   *netns.NS
	resync time.Duration
	now    func() time.Time
	log    *slog.Logger
	hook   func(string) error
	fence  fence
	watch  watch

	wake    atomic.Pointer[os.File] // of watch: its eventfd; nil for none
	closing atomic.Bool

	mu      sync.Mutex // serializes everything below, and Apply
	ready   bool       // dir is prepared
	applied bool       // an Apply has gone through its steps
	known   map[string]known
	lost    map[string]bool // networks that were known, and others removed
	outside knownOutside
	open    map[string]map[*held]bool // by network ID
}

var _ netfab.Fabric = (*Fabric)(nil)

// New returns a fabric over what exists on the host; it changes nothing yet.
func New(cfg Config) (*Fabric, error) {
	bad := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(cfg.Tag) == 0 || len(cfg.Tag) > 64 || strings.ContainsFunc(cfg.Tag, bad) {
		return nil, fmt.Errorf("%w: tag %q: want 1 to 64 printable characters without spaces", netfab.ErrInvalid, cfg.Tag)
	}
	f := &Fabric{
		names: newNames(cfg.Tag), dir: cfg.NetNSDir, resync: cfg.Resync, now: cfg.Now, log: cfg.Logger, hook: cfg.Hook,
		known: map[string]known{}, lost: map[string]bool{}, open: map[string]map[*held]bool{},
	}
	if f.dir == "" {
		f.dir = "/run/netns"
	}
	if f.resync == 0 {
		f.resync = 30 * time.Second
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.hook == nil {
		f.hook = func(string) error { return nil }
	}
	var err error
	if cfg.HostNetNS == "" {
		f.host, err = netns.Current()
	} else {
		f.host, err = netns.Open(cfg.HostNetNS)
	}
	if err != nil {
		return nil, fmt.Errorf("the host's network namespace: %w", err)
	}
	return f, nil
}

// Close lets go of the host, ends all Frames, and leaves the fabric standing.
func (f *Fabric) Close() error {
	f.closeWatch()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.open {
		f.endOpen(id)
	}
	f.fence.mu.Lock()
	defer f.fence.mu.Unlock()
	if f.fence.conn != nil {
		f.fence.conn.Close()
		f.fence.conn = nil
	}
	return f.host.Close()
}

// Attachment tells where a port's tap is.
func (f *Fabric) Attachment(networkID string, vni uint32, portID string) netfab.Attachment {
	return netfab.Attachment{Tap: netfab.TapName(portID), NetNS: f.path(vni)}
}

// path is where a network's namespace has its name.
func (f *Fabric) path(vni uint32) string { return filepath.Join(f.dir, f.names.namespace(vni)) }

// Apply makes the host's fabric equal to want. What it applied before and looked
// at less than Config.Resync ago costs it no look at the kernel beyond whether
// the namespace still has its name.
func (f *Fabric) Apply(ctx context.Context, want netfab.Desired) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.begin(want.Underlay)
	if err != nil {
		return err
	}
	defer a.close()
	want.Underlay = a.underlay
	want, bad, err := netfab.Normalize(want)
	if err != nil {
		return err
	}
	if !f.ready {
		if err := netns.PrepareDir(f.dir); err != nil {
			return fmt.Errorf("names of network namespaces: %w", err)
		}
		f.ready = true
	}
	a.want = want
	err = a.run(ctx, bad)
	if err == nil && len(a.renamed) > 0 { // now that they can be seen
		err = a.run(ctx, bad)
	}
	if err == nil {
		f.watch.told = "" // should it be so again, it is news
	}
	f.poke()
	return err
}

// run looks at the host and does what is to be done.
func (a *apply) run(ctx context.Context, bad []*netfab.NetworkError) error {
	have, err := a.observe()
	if err != nil {
		return err
	}
	steps := netfab.Diff(a.want, have)
	a.remotes = gatherRemotes(steps)
	err = netfab.Run(ctx, steps, bad, a.step)
	a.remember(a.want, err)
	for _, id := range a.renamed { // nobody has seen all that is in there
		if k, ok := a.known[id]; ok {
			k.since = time.Time{}
			a.known[id] = k
		}
	}
	return err
}

// remember keeps what is certain after an Apply, nothing of what failed.
func (f *Fabric) remember(want netfab.Desired, err error) {
	var failed failures
	failed.add(err)
	kept := map[string]known{}
	for _, n := range want.Networks {
		k := f.known[n.ID]
		if k.since.IsZero() {
			k.since = f.now()
		}
		k.network, k.underlay, k.damage = n.Clone(), want.Underlay.Addr, nil
		if ino, err := inode(f.path(n.VNI)); err == nil && !failed.host && !failed.networks[n.ID] {
			k.ns = ino
			kept[n.ID] = k
			delete(f.lost, n.ID)
		}
	}
	f.known = kept
	f.applied = f.applied || err == nil
	maps.DeleteFunc(f.lost, func(id string, _ bool) bool {
		return !slices.ContainsFunc(want.Networks, func(n netfab.Network) bool { return n.ID == id })
	})
	f.outside.is, f.outside.damage = want.Outside, nil
	if failed.host {
		f.outside = knownOutside{}
	}
}

// failures sorts the errors of an Apply by what is uncertain after them.
type failures struct {
	networks map[string]bool
	host     bool
}

func (f *failures) add(err error) {
	switch e := err.(type) {
	case nil:
	case *netfab.NetworkError:
		if f.networks == nil {
			f.networks = map[string]bool{}
		}
		f.networks[e.Network] = true
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			f.add(part)
		}
	default:
		f.host = true
	}
}

// known is what was last seen or done, and when it was last seen.
type known struct {
	network  netfab.Network
	underlay netipAddr
	damage   []string
	ns       uint64 // inode of the namespace
	since    time.Time
	number   int32 // of the namespace in the host's, where numbered
	numbered bool
}

type knownOutside struct {
	is     netfab.Outside
	damage []string
	since  time.Time
}

// fresh tells whether what was seen then need not be looked at now.
func (f *Fabric) fresh(since time.Time) bool {
	return !since.IsZero() && f.resync > 0 && f.now().Sub(since) < f.resync
}

// namespaces lists the names in the directory that could be ours: VNI by name.
func (f *Fabric) namespaces() (map[string]uint32, error) {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := map[string]uint32{}
	for _, e := range entries {
		if vni, ok := f.names.vni(e.Name()); ok {
			found[e.Name()] = vni
		}
	}
	return found, nil
}

func sortedStrings(s []string) []string {
	slices.Sort(s)
	return s
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
