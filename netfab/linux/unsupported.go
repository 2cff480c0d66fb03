//go:build !linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/shakenfist/cloud/netfab"
)

// Config describes a fabric; see the Linux build.
type Config struct {
	Tag       string
	NetNSDir  string
	HostNetNS string
	Resync    time.Duration
	Now       func() time.Time
	Logger    *slog.Logger
	Hook      func(what string) error
}

// Fabric does not exist on this operating system.
type Fabric struct{}

var _ netfab.Fabric = (*Fabric)(nil)

var errOS = fmt.Errorf("network fabric of the Linux kernel: %w", errors.ErrUnsupported)

// New returns errors.ErrUnsupported.
func New(Config) (*Fabric, error) { return nil, errOS }

// Apply returns errors.ErrUnsupported.
func (*Fabric) Apply(context.Context, netfab.Desired) error { return errOS }

// Observe returns errors.ErrUnsupported.
func (*Fabric) Observe(context.Context) (netfab.Observed, error) { return netfab.Observed{}, errOS }

// Attachment returns the zero Attachment.
func (*Fabric) Attachment(string, uint32, string) netfab.Attachment { return netfab.Attachment{} }

// Frames returns errors.ErrUnsupported.
func (*Fabric) Frames(context.Context, string) (io.ReadWriteCloser, error) { return nil, errOS }

// Keep returns errors.ErrUnsupported.
func (*Fabric) Keep(context.Context, time.Duration) error { return errOS }

// Changed returns errors.ErrUnsupported.
func (*Fabric) Changed(context.Context) error { return errOS }

// Listen returns errors.ErrUnsupported.
func (*Fabric) Listen(context.Context, string) (net.PacketConn, net.Listener, error) {
	return nil, nil, errOS
}

// Inventory returns errors.ErrUnsupported.
func (*Fabric) Inventory(context.Context) ([]netfab.Owned, error) { return nil, errOS }

// Remove returns errors.ErrUnsupported.
func (*Fabric) Remove(context.Context, netfab.Owned) error { return errOS }

// Close returns nil.
func (*Fabric) Close() error { return nil }
