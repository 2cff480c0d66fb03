//go:build linux

package libvirt

import (
	"context"
	"errors"
	"strings"
)

// AwayName is the name of a machine's n-th tap on its way.
var AwayName = awayName

// Tell has a machine's QEMU execute a command.
func (h *Hypervisor) Tell(ctx context.Context, id, command string) error {
	return h.call(ctx, h.cfg.Timeout, func(c *conn) error {
		answer, err := c.QEMUDomainMonitorCommand(dom(id), command, 0)
		if err == nil && strings.Contains(answer, `"error"`) {
			err = errOurs{errors.New(answer)}
		}
		return err
	})
}
