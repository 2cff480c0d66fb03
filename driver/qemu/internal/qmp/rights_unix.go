//go:build unix

package qmp

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// sendFile writes a line whose first byte carries a descriptor.
func sendFile(conn net.Conn, line []byte, f *os.File) error {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("files can be passed over unix sockets only")
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var sent error
	err = raw.Control(func(fd uintptr) { n, _, sent = unix.WriteMsgUnix(line, syscall.UnixRights(int(fd)), nil) })
	if err == nil {
		err = sent
	}
	if err == nil && n < len(line) {
		_, err = conn.Write(line[n:])
	}
	return err
}
