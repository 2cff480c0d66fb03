package libvirt

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
	err := h.withOn(ctx, id, "open the console of", func(ctx context.Context, m *machine) (err error) {
		v, err = m.console.Open(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// newConsole makes the port that a machine has from one start to the next.
func newConsole(m *machine) *console.Port {
	return console.New(console.Config{
		Name: "libvirt: console of " + m.id, Go: m.h.calls.Go, Context: m.h.calls.Context(), Timeout: m.h.cfg.Timeout,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return socket.Dial(ctx, consoleSocket(m.spec()), m.h.cfg.Timeout)
		},
	})
}
