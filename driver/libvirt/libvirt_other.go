//go:build !linux

package libvirt

import (
	"context"
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/driver"
)

// Hypervisor exists on Linux only.
type Hypervisor struct{ driver.Hypervisor }

// New returns errors.ErrUnsupported: machines run on Linux.
func New(context.Context, Config) (*Hypervisor, error) {
	return nil, fmt.Errorf("libvirt: machines run on Linux only: %w", errors.ErrUnsupported)
}
