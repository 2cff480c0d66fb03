package qemu

import (
	"context"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/consolelog"
)

// ConsoleLog implements driver.Consoler.
func (h *Hypervisor) ConsoleLog(ctx context.Context, id string, offset int64, p []byte) (n int, end int64, err error) {
	_, leave, err := h.enter(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	m, err := h.machine(id)
	if err != nil {
		return 0, 0, err
	}
	m.mu.Lock()
	path, gone := consoleLog(m.def.Spec), m.undefined
	m.mu.Unlock()
	if gone {
		return 0, 0, driver.ErrNotFound
	}
	return consolelog.Read(path, offset, p)
}
