package qemu

import (
	"context"
	"io"
	"net"

	"github.com/shakenfist/cloud/driver/internal/console"
	"github.com/shakenfist/cloud/driver/internal/socket"
)

// Console implements driver.Consoler. ctx bounds the opening only.
func (h *Hypervisor) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	var v *console.Viewer
	err := h.with(ctx, id, func(ctx context.Context, m *machine) error {
		s, err := m.on("open the console of")
		if err == nil {
			v, err = s.console.Open(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

func newConsole(h *Hypervisor, id string) *console.Port {
	return console.New(console.Config{
		Name: "qemu: console of " + id, Go: h.calls.Go, Context: h.calls.Context(), Timeout: h.cfg.Timeout,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return socket.Dial(ctx, h.reg.path(id, "serial"), h.cfg.Timeout)
		},
	})
}
