//go:build linux && !amd64

package qemu

import (
	"context"
	"errors"
)

// kvmWorks: machines are x86 ones, which other processors can only emulate.
func kvmWorks(context.Context, bool) error {
	return errors.New("the host's processor is not an x86 one")
}
