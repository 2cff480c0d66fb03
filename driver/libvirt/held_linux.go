package libvirt

import (
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

// copyingNow reports whether libvirt copies disks of a machine now.
func copyingNow(c *conn, id string) (bool, error) {
	params, err := jobStats(c, id, 0)
	return number(params, "operation") == operateOn, err
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
