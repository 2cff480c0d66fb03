// Package launch is what a service manager does for sfd: a clean environment, and
// waiting until it says that it is ready.
package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Clean is an environment in which nothing configures Shaken Fist.
func Clean(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "SHAKENFIST_") && !strings.HasPrefix(e, "HOME=") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			kept = append(kept, e)
		}
	}
	return kept
}

// Notice is the socket that one daemon says at that it is ready.
type Notice struct{ conn *net.UnixConn }

// Listen makes the socket. What an earlier start left at its path is replaced.
func Listen(path string) (*Notice, error) {
	os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return &Notice{conn}, nil
}

// Env is to be added to the daemon's environment.
func (n *Notice) Env() string { return "NOTIFY_SOCKET=" + n.conn.LocalAddr().String() }

// Close removes the socket.
func (n *Notice) Close() error {
	return errors.Join(n.conn.Close(), os.Remove(n.conn.LocalAddr().String()))
}

// Patience is how long a daemon may take until it is ready.
const Patience = time.Minute

// Await waits for READY=1, or for the end of the daemon, whichever comes first.
func (n *Notice) Await(ctx context.Context, ended <-chan struct{}) error {
	said := make(chan error, 1)
	go func() {
		buf := make([]byte, 512)
		k, err := n.conn.Read(buf)
		if err == nil && string(buf[:k]) != "READY=1" {
			err = fmt.Errorf("sfd says %q", buf[:k])
		}
		said <- err
	}()
	select {
	case err := <-said:
		return err
	case <-ended:
		return errors.New("sfd ended instead of becoming ready")
	case <-time.After(Patience):
		return fmt.Errorf("sfd is not ready after %v", Patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}
