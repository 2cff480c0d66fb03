package libvirt

import (
	"context"
	"fmt"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/consolelog"
	"github.com/shakenfist/cloud/driver/internal/room"
)

// Events of libvirt's public interface (libvirt-domain.h).
const (
	eventDefined    = 0
	eventUndefined  = 1
	eventShutdown   = 6
	shutdownByHost  = 2
	jobNothing      = 0
	jobCompletedMsg = "operation"
)

// watch keeps the connection of queries and events until Close. first is called
// after the first time that all machines were looked at.
func (h *Hypervisor) watch(first func()) {
	defer first()
	silent := true
	for h.calls.Context().Err() == nil {
		err := h.watchOnce(first)
		if h.calls.Context().Err() != nil {
			return
		}
		if silent {
			h.cfg.Log.Warn("no connection to libvirtd; trying again", "socket", h.cfg.Socket, "error", err)
		}
		silent = err == nil // say it once for each time that it was there
		timer := time.NewTimer(retryEvery)
		select {
		case <-timer.C:
		case <-h.calls.Context().Done():
			timer.Stop()
		}
	}
}

// watchOnce lasts as long as a connection does; nil after one that worked.
func (h *Hypervisor) watchOnce(first func()) error {
	ctx, cancel := context.WithTimeout(h.calls.Context(), h.cfg.Timeout)
	c, err := connect(ctx, h.cfg.Socket)
	cancel()
	if err != nil {
		return err
	}
	defer c.cut()
	stop := context.AfterFunc(h.calls.Context(), c.cut)
	defer stop()
	streams, err := h.subscribe(c)
	defer streams.drain()
	if err != nil {
		return err
	}
	pid, err := c.peer()
	if err != nil {
		return err
	}
	h.use(c, newPlace(pid))
	defer h.use(nil, nil)
	// Nothing below may wait for the connection's successor, which we are to make.
	alive, dead := context.WithCancel(h.calls.Context())
	defer dead()
	h.calls.Go(func() {
		defer dead()
		select {
		case <-c.end:
		case <-alive.Done():
		}
	})
	// What happened meanwhile, and between the subscription and here, no event tells.
	h.expectNone()
	h.lookAtAll(alive)
	h.events.Publish(driver.Event{})
	first()
	tick := time.NewTicker(h.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case e := <-streams.life:
			h.happened(alive, e)
		case e := <-streams.trouble:
			h.happened(alive, e)
		case e := <-streams.reset:
			h.happened(alive, e)
		case <-tick.C:
			h.housekeeping(alive)
		case <-c.end:
			return nil
		}
	}
}

// expectNone forgets what events of an earlier connection would have told.
func (h *Hypervisor) expectNone() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.machines {
		m.expectReset(false)
	}
}

// use sets the connection of queries, and where its other end is.
func (h *Hypervisor) use(c *conn, at *place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eye = c
	if at != nil {
		h.where = at
	}
}

// streams are the kinds of events that we hear.
type streams struct {
	cancel               context.CancelFunc
	life, trouble, reset <-chan any
}

func (h *Hypervisor) subscribe(c *conn) (s streams, err error) {
	ctx, cancel := context.WithCancel(h.calls.Context())
	s.cancel = cancel
	watchdog := time.AfterFunc(h.cfg.Timeout, c.cut)
	defer watchdog.Stop()
	if s.life, err = c.SubscribeEvents(ctx, golibvirt.DomainEventIDLifecycle, nil); err != nil {
		return s, err
	}
	if s.trouble, err = c.SubscribeEvents(ctx, golibvirt.DomainEventIDIoErrorReason, nil); err != nil {
		return s, err
	}
	s.reset, err = c.SubscribeEvents(ctx, golibvirt.DomainEventIDReboot, nil)
	return s, err
}

// drain lets the library's goroutines end; the connection is cut already or will
// be by who calls.
func (s streams) drain() {
	s.cancel()
	for _, ch := range []<-chan any{s.life, s.trouble, s.reset} {
		if ch != nil {
			go func() {
				for range ch {
				}
			}()
		}
	}
}

// happened notes what only an event tells, and has the rest asked for.
func (h *Hypervisor) happened(ctx context.Context, e any) {
	switch e := e.(type) {
	case *golibvirt.DomainEventCallbackLifecycleMsg:
		hint := ""
		if e.Msg.Event == eventShutdown && e.Msg.Detail == shutdownByHost {
			hint = "the emulator was told to end, by a signal from the host"
		}
		h.look(ctx, e.Msg.Dom, hint)
		if e.Msg.Event == eventUndefined {
			h.events.Publish(driver.Event{ID: textUUID(e.Msg.Dom.UUID)})
		}
	case *golibvirt.DomainEventCallbackRebootMsg:
		if id := textUUID(e.Msg.Dom.UUID); e.Msg.Dom.Name == domainName(id) {
			m := h.hold(id)
			defer h.drop(m)
			m.restarted()
		}
	case *golibvirt.DomainEventCallbackIOErrorReasonMsg:
		m := e.Msg
		what := "disk error"
		if m.Reason == "enospc" {
			what = "no space left on the host"
		}
		h.look(ctx, m.Dom, fmt.Sprintf("%s: %s", strings.TrimPrefix(m.DevAlias, "ua-"), what))
	}
}

// look looks at one machine of ours.
func (h *Hypervisor) look(ctx context.Context, d golibvirt.Domain, hint string) {
	id := textUUID(d.UUID)
	if d.Name != domainName(id) {
		return
	}
	m := h.hold(id)
	defer h.drop(m)
	if hint != "" {
		m.update(func(n note) note {
			if n.State.On() {
				n.Hint = hint
			}
			return n
		})
	}
	m.sync(ctx)
}

// lookAtAll looks at every machine of which a survey says something new.
func (h *Hypervisor) lookAtAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	all, err := h.survey(ctx)
	if err != nil {
		return // the connection is broken, or the next tick comes
	}
	for id, s := range all {
		h.statusOf(ctx, id, s)
	}
}

// housekeeping does what time alone asks for.
func (h *Hypervisor) housekeeping(ctx context.Context) {
	h.lookAtAll(ctx)
	h.mu.Lock()
	var all []*machine
	for _, m := range h.machines {
		all = append(all, m)
	}
	h.mu.Unlock()
	for _, m := range all {
		if !m.known() {
			continue
		}
		m.resave()
		if err := consolelog.Bound(consoleLog(m.spec()), h.cfg.ConsoleLimit); err != nil {
			h.cfg.Log.Warn("cannot bound a console log", "machine", m.id, "error", err)
		}
		if m.note().State == driver.Stalled && room.For(m.spec()) {
			h.later(m.id, (*machine).unstall)
		}
	}
}

// later runs an operation in the background unless somebody is busy with the
// machine already; what asked for it then asks again.
func (h *Hypervisor) later(id string, act func(*machine, context.Context) error) {
	ctx, leave, err := h.enter(h.calls.Context())
	if err != nil {
		return
	}
	m := h.hold(id)
	h.calls.Go(func() {
		defer leave()
		defer h.drop(m)
		if !m.op.Try() {
			return
		}
		defer m.op.Give()
		if err := act(m, ctx); err != nil {
			h.cfg.Log.Error("libvirt: in the background", "machine", id, "error", err)
		}
	})
}
