//go:build !linux

package dhcpd

import (
	"errors"
	"fmt"
	"io"
)

// Listen needs Linux packet sockets; elsewhere it returns errors.ErrUnsupported.
func Listen(ifindex int) (io.ReadWriteCloser, error) {
	return nil, fmt.Errorf("dhcpd: packet socket on interface %d: %w", ifindex, errors.ErrUnsupported)
}
