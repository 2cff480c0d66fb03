package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/console"
	"github.com/shakenfist/cloud/driver/internal/room"
	"github.com/shakenfist/cloud/driver/internal/token"
)

// machine is what we hold of one: locks, its file, and its viewers.
type machine struct {
	h       *Hypervisor
	id      string
	holders int // guarded by h.mu

	// op is the lock of operations, looking that of asking libvirt for the state and
	// concluding from the answer, so that an old answer never overwrites a newer
	// one. op is taken first.
	op      token.Token
	looking token.Token

	console *console.Port

	mu    sync.Mutex // of what follows; held for no longer than a write to disk
	file  entry
	filed bool // file is on disk
	stale bool // but not as it is: it could not be written when it changed
	busy  bool // an operation is starting it
	told  bool // the next event of a reset will be of one that Reset counts
	seen  seen // by the last look
}

func newMachine(h *Hypervisor, id string, e entry, filed bool) *machine {
	m := &machine{
		h: h, id: id, op: token.New(), looking: token.New(), file: e, filed: filed,
	}
	m.console = newConsole(m)
	return m
}

// known reports whether the machine has anything that a later call may need.
func (m *machine) known() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.filed
}

func (m *machine) spec() driver.Spec {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file.Spec
}

func (m *machine) note() note {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file.Note
}

// define makes the domain, or compares with the one there is.
func (m *machine) define(ctx context.Context, spec driver.Spec) error {
	old, owner, err := m.definition(ctx)
	switch {
	case err == nil && (owner != m.h.cfg.Owner || !old.Equal(spec)):
		return driver.ErrExists
	case err == nil:
		return m.adopt(old)
	case !errors.Is(err, driver.ErrNotFound):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(spec.Dir), 0o755); err != nil {
		return room.Mark(err)
	}
	if err := os.MkdirAll(spec.Dir, 0o711); err != nil {
		return room.Mark(err)
	}
	text, err := m.draft(ctx, spec)
	if err != nil {
		return err
	}
	// On disk first: what Destroy has to clean up is known whatever happens next.
	if err := m.write(entry{Spec: spec, Note: note{State: driver.Defined, Since: m.h.cfg.Now()}}); err != nil {
		return err
	}
	err = m.h.call(ctx, m.h.cfg.Timeout, func(c *conn) error {
		_, err := c.DomainDefineXMLFlags(text, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("define: %w", noRoom(err))
	}
	m.h.events.Publish(driver.Event{ID: m.id, State: driver.Defined})
	return nil
}

// definition asks libvirt for the Spec and the owner of the domain.
func (m *machine) definition(ctx context.Context) (driver.Spec, string, error) {
	text, err := ask(ctx, m.h, func(c *conn) (string, error) {
		return c.DomainGetMetadata(dom(m.id), int32(golibvirt.DomainMetadataElement),
			golibvirt.OptString{xmlNamespace}, golibvirt.DomainAffectConfig)
	})
	switch code(err) {
	case errNoDomain:
		return driver.Spec{}, "", driver.ErrNotFound
	case errNoMeta:
		return driver.Spec{}, "", nil // somebody else's
	}
	if err != nil {
		return driver.Spec{}, "", err
	}
	owner, spec, err := parseMark(text)
	return spec, owner, err
}

// adopt makes sure that a machine of libvirt's has its file.
func (m *machine) adopt(spec driver.Spec) error {
	m.mu.Lock()
	e, filed := m.file, m.filed
	m.mu.Unlock()
	if filed && e.Spec.Equal(spec) {
		return nil
	}
	return m.write(entry{Spec: spec, Note: note{State: driver.Defined, Since: m.h.cfg.Now()}})
}

// write makes or replaces the file.
func (m *machine) write(e entry) error {
	if err := m.h.reg.save(e, true); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file, m.filed, m.stale = e, true, false
	return nil
}

// resave writes a file that could not be written when it changed.
func (m *machine) resave() { m.update(func(n note) note { return n }) }

// sync looks at the machine: it asks libvirt, judges, writes down what is new,
// tells the world, and begins what the judgement asks for.
func (m *machine) sync(ctx context.Context) (driver.Status, error) {
	if err := m.looking.Take(ctx); err != nil {
		return driver.Status{}, err
	}
	defer m.looking.Give()
	s, err := ask(ctx, m.h, func(c *conn) (seen, error) {
		state, reason, err := c.DomainGetState(dom(m.id), 0)
		return seen{state, reason}, err
	})
	if code(err) == errNoDomain {
		return driver.Status{}, driver.ErrNotFound
	}
	if err != nil {
		return driver.Status{}, err
	}
	if err := m.recognize(ctx); err != nil {
		return driver.Status{}, err
	}
	return m.conclude(s)
}

// recognize makes sure that the domain is ours and has its file.
func (m *machine) recognize(ctx context.Context) error {
	if m.known() {
		return nil
	}
	spec, owner, err := m.definition(ctx)
	if err != nil {
		return err
	}
	if owner != m.h.cfg.Owner {
		return driver.ErrNotFound
	}
	return m.adopt(spec)
}

// conclude judges what was seen; looking is held.
func (m *machine) conclude(s seen) (driver.Status, error) {
	at := moment{now: m.h.cfg.Now(), bootID: m.h.boot, via: m.h.via()}
	var todo deed
	err := m.update(func(n note) note {
		at.busy = m.busy
		m.seen = s
		n, todo = judge(n, s, at)
		return n
	})
	switch todo {
	case startAgain:
		m.h.later(m.id, (*machine).reboot)
	case abort:
		m.h.later(m.id, (*machine).giveUp)
	}
	return m.status(s), err
}

// status is the machine for people.
func (m *machine) status(s seen) driver.Status {
	n := m.note()
	st := n.status(m.id)
	if s.active() && n.State.On() {
		st.PID = m.findPID()
	}
	return st
}

// unchanged returns the status if a survey saw nothing new.
func (m *machine) unchanged(s seen) (driver.Status, bool) {
	m.mu.Lock()
	same := m.filed && m.seen == s && !m.busy
	n := m.file.Note
	m.mu.Unlock()
	if !same {
		return driver.Status{}, false
	}
	judged, todo := judge(n, s, moment{now: n.Since, bootID: m.h.boot, via: m.h.via()})
	return m.status(s), judged == n && todo == nothing
}

// update edits the note, writes it and tells the world if the state changed. Ends
// that were not ours are kept even over a power failure, lest somebody starts
// again what a guest shut down.
func (m *machine) update(edit func(note) note) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.file.Note
	after := edit(before)
	if after == before && !m.stale || !m.filed {
		return nil
	}
	m.file.Note = after
	moved := after.State != before.State || after.Boot != before.Boot
	err := m.h.reg.save(m.file, m.stale || moved && !after.State.On() && after.State != driver.Defined)
	m.stale = err != nil
	if err != nil {
		m.h.cfg.Log.Error("cannot write a machine's state", "machine", m.id, "error", err)
		err = fmt.Errorf("state: %w", err)
	}
	m.h.events.Changed(before.status(m.id), after.status(m.id))
	return err
}

// findPID reads which process the machine's QEMU is from libvirt's own file, as
// libvirtd sees it; 0 when that is not to be found.
func (m *machine) findPID() int {
	p := m.h.place()
	if p == nil {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(p.root, "run/libvirt/qemu", domainName(m.id)+".pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(line), m.id) {
		return 0
	}
	return pid
}

// noRoom marks what libvirt says of a full disk.
func noRoom(err error) error {
	if err != nil && strings.Contains(err.Error(), "No space left on device") {
		return fmt.Errorf("%w: %w", driver.ErrNoSpace, err)
	}
	return err
}
