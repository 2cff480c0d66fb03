package libvirt

import (
	"context"

	"github.com/shakenfist/cloud/driver"
)

// Events implements driver.Hypervisor. After each reconnection to libvirtd comes
// an event without an ID.
func (h *Hypervisor) Events(ctx context.Context) (driver.EventStream, error) {
	_, leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return h.events.Open(), nil
}
