package libvirt

import (
	"context"

	"github.com/shakenfist/cloud/driver/internal/consolelog"
)

// ConsoleLog implements driver.Consoler.
func (h *Hypervisor) ConsoleLog(ctx context.Context, id string, offset int64, p []byte) (n int, end int64, err error) {
	ctx, leave, err := h.enter(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	m := h.hold(id)
	defer h.drop(m)
	if !m.known() {
		if _, err := m.sync(ctx); err != nil {
			return 0, 0, err
		}
	}
	return consolelog.Read(consoleLog(m.spec()), offset, p)
}
