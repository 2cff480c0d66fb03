package fake

import (
	"context"

	"github.com/shakenfist/cloud/driver"
)

// Events implements driver.Hypervisor.
func (v *Hypervisor) Events(ctx context.Context) (s driver.EventStream, err error) {
	err = v.do(ctx, "Events", "", func(h *Host) error {
		stream := h.events.Open()
		v.streams = append(v.streams, stream)
		s = stream
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
