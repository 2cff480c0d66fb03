package libvirt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/tap"
	"golang.org/x/sys/unix"
)

// libvirtd opens taps in its own network namespace; a Spec's may live in others.
// A tap that is open may be moved, so each start makes one of its own name where
// libvirtd is, lets QEMU open it while the machine's virtual CPUs are stopped, and
// then moves it next to the Spec's tap and puts it in that one's place: with its
// name, address, MTU, alias, group, bridge, port settings and forwarding entries,
// in one batch of messages, which our death cannot cut in two. The Spec's tap is
// there, under its name, at any other time: who maintains the network sees
// nothing missing, and filters by name go on to hold. What a crash leaves behind
// are taps named like ours, which the next start or Destroy removes.

// taps are those of a machine that is being started.
type taps struct {
	at   *os.File // libvirtd's namespace, held open: libvirtd may come and go
	nics []tapPlan
}

// ns is a path of libvirtd's namespace.
func (t *taps) ns() string { return fmt.Sprintf("/proc/self/fd/%d", t.at.Fd()) }

func (t *taps) close() {
	if t.at != nil {
		t.at.Close()
	}
}

// tapPlan says how a NIC's tap comes about.
type tapPlan struct {
	driver.NIC
	away string // our own tap; empty where libvirtd finds the Spec's by itself
}

// newTaps checks that the Spec's taps are there and removes what an earlier start
// has left; no QEMU has the machine's taps open.
func newTaps(at *place, s driver.Spec) (*taps, error) {
	t := &taps{}
	if len(s.NICs) == 0 {
		return t, nil
	}
	if err := removeTaps(at, s); err != nil {
		return nil, err
	}
	var err error
	if t.at, err = os.Open(at.ns); err != nil {
		return nil, fmt.Errorf("libvirtd's network namespace: %w", err)
	}
	if err := t.plan(s); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *taps) plan(s driver.Spec) error {
	for i, n := range s.NICs {
		if n.NetNS == "" {
			n.NetNS = "/proc/self/ns/net"
		}
		same, err := sameNamespace(n.NetNS, t.ns())
		if err == nil {
			err = tap.Exists(n.NetNS, n.Tap)
		}
		if err != nil {
			return fmt.Errorf("tap %s in %s: %w", n.Tap, n.NetNS, err)
		}
		p := tapPlan{NIC: n}
		if !same {
			p.away = awayName(s.ID, i)
		}
		t.nics = append(t.nics, p)
	}
	return nil
}

// names are those that QEMU opens.
func (t *taps) names() (list []string) {
	for _, n := range t.nics {
		if n.away == "" {
			list = append(list, n.Tap)
		} else {
			list = append(list, n.away)
		}
	}
	return list
}

// make makes our taps where libvirtd is. Those that are there are kept: QEMU may
// have them open.
func (t *taps) make() error {
	for _, n := range t.nics {
		if n.away == "" {
			continue
		}
		if tap.Exists(t.ns(), n.away) == nil {
			continue
		}
		if err := tap.Make(t.ns(), n.away); err != nil {
			return fmt.Errorf("tap %s for %s: %w", n.away, n.Tap, err)
		}
	}
	return nil
}

// place puts our taps, which QEMU has open, in the place of the Spec's.
func (t *taps) place() error {
	for _, n := range t.nics {
		if n.away == "" {
			continue
		}
		if err := n.place(t.ns()); err != nil {
			return fmt.Errorf("tap %s: %w", n.Tap, err)
		}
	}
	return nil
}

func (n tapPlan) place(from string) error {
	source, err := dialNS(from)
	if err != nil {
		return err
	}
	defer source.close()
	to, err := os.Open(n.NetNS)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := source.move(n.away, int(to.Fd())); err != nil {
		return err
	}
	home, err := dialNS(n.NetNS)
	if err != nil {
		return err
	}
	defer home.close()
	// Somebody may make a tap of that name between two messages of the batch; then
	// that one is replaced in turn.
	for range 3 {
		if err = home.replace(n.Tap, n.away); !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return err
}

// remove takes away what is left of a start that failed.
func (t *taps) remove() error {
	var errs []error
	for _, n := range t.nics {
		if n.away == "" {
			continue
		}
		errs = append(errs, deleteIn(t.ns(), n.away), deleteIn(n.NetNS, n.away))
	}
	return errors.Join(errs...)
}

// removeTaps removes the taps we made for a machine that is off, wherever a crash
// has left them.
func removeTaps(at *place, s driver.Spec) error {
	for i, n := range s.NICs {
		name := awayName(s.ID, i)
		if err := errors.Join(deleteIn(at.ns, name), deleteIn(n.NetNS, name)); err != nil {
			return fmt.Errorf("tap %s: %w", name, err)
		}
	}
	return nil
}

// deleteIn deletes a tap; one that is gone, also with its namespace, is nil.
func deleteIn(ns, name string) error {
	if ns == "" {
		ns = "/proc/self/ns/net"
	}
	c, err := dialNS(ns)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL) {
		return nil
	} else if err != nil {
		return err
	}
	defer c.close()
	return c.delete(name)
}

func sameNamespace(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y), err
}
