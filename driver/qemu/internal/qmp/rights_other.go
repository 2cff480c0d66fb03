//go:build !unix

package qmp

import (
	"errors"
	"net"
	"os"
)

func sendFile(net.Conn, []byte, *os.File) error { return errors.ErrUnsupported }
