package libvirt

import (
	"context"
	"fmt"

	"github.com/digitalocean/go-libvirt"
	"github.com/shakenfist/cloud/driver"
)

// errHeld is a machine that libvirt locks for a backup that there is not. A libvirtd
// that is killed while it begins one has it in the domain's state that it does, but
// not what it copies; its successor (seen with 9.0) restores the former and waits
// for the end of the latter for as long as the domain object lives. Everything but
// backups works meanwhile.
var errHeld = fmt.Errorf("libvirtd was killed while it began a snapshot of the machine, "+
	"and its successor makes no other of it before it is powered off and on: %w", driver.ErrState)

// activity is what libvirt does for a machine's backup.
type activity int

const (
	idle activity = iota
	copying
	// waiting is a backup that has no end: libvirt waits for copies that nobody makes.
	// A libvirtd that is killed while one begins or ends has the backup in the domain's
	// state, but not the block jobs (seen with 9.0). To abort it ends it.
	waiting
)

// backup looks at what becomes of a machine's backup. The block jobs are asked for
// first: libvirt answers between two steps of its own, so that a backup whose last one
// has just ended has itself ended when it is looked at. op is held, so that none begins.
func (m *machine) backup(c *conn) (activity, error) {
	job := false
	for _, d := range newDisks(m.spec().Disks, nil) {
		found, _, _, _, _, err := c.DomainGetBlockJobInfo(dom(m.id), d.Target.Dev, 0)
		if err != nil && code(err) != errInvalidOp { // it is off
			return idle, err
		}
		job = job || found != 0
	}
	params, err := jobStats(c, m.id, 0)
	switch {
	case err != nil || number(params, "operation") != operateOn:
		return idle, err
	case !job:
		return waiting, nil
	}
	return copying, nil
}

// endWaiting ends a backup that waits, and reports that it did; op is held.
func (m *machine) endWaiting(ctx context.Context) (ended bool, err error) {
	err = m.h.call(ctx, m.h.cfg.Timeout, func(c *conn) error {
		now, err := m.backup(c)
		if err != nil || now != waiting {
			return err
		}
		m.h.cfg.Log.Warn("libvirt waits for the end of a snapshot that it lost; it is aborted", "machine", m.id)
		ended = true
		return m.abandon(c)
	})
	return ended, err
}

// jobStats asks for a machine's job, nothing where it has none.
func jobStats(c *conn, id string, flags libvirt.DomainGetJobStatsFlags) ([]libvirt.TypedParam, error) {
	_, params, err := c.DomainGetJobStats(dom(id), flags)
	switch {
	case code(err) == errInternal && flags == 0 && isActive(c, id):
		return nil, errOurs{errHeld} // a backup without data
	case code(err) == errInvalidOp:
		return nil, nil
	}
	return params, err
}
