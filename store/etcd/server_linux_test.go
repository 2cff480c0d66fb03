package etcd

import (
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/store"
)

// releases are the servers that everything is tried on.
var releases = []string{"3.4", "3.5", "3.6"}

// binary is an etcd of a release: Debian's, or one built by .ci/etcd.
func binary(t testing.TB, release string) string {
	t.Helper()
	if release == "3.4" {
		return need.Program(t, "etcd", "etcd-server")
	}
	path, err := filepath.Abs("../../build/etcd-" + release)
	if err != nil {
		t.Fatal(err)
	}
	need.File(t, path, "`make deps` builds it")
	return path
}

// server is an etcd of one member, a process of the test.
type server struct {
	bin, dir, scheme string
	args             []string // all but addresses
	client, peer     string   // addresses
	cmd              *exec.Cmd
	ended            chan struct{} // closed when the process is gone
	log              *tail
}

// start starts a server that ends with the test. Elections are quick, since they
// bound how short a lease can be.
func start(t testing.TB, release, scheme string, args ...string) *server {
	t.Helper()
	v := &server{bin: binary(t, release), dir: t.TempDir(), scheme: scheme, args: append([]string{
		"--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "error",
	}, args...)}
	if release != "3.4" {
		v.args = append(v.args, "--unsafe-no-fsync")
	}
	t.Cleanup(v.kill)
	for range 5 {
		v.client, v.peer = freeAddress(t), freeAddress(t)
		if v.run(t); v.listens() {
			return v
		}
		v.kill() // somebody else was quicker to use the port
	}
	t.Fatalf("etcd %s does not start: %s", release, v.log)
	return nil
}

func (v *server) endpoint() string { return v.scheme + "://" + v.client }

// run starts the process, anew if it was killed.
func (v *server) run(t testing.TB) {
	t.Helper()
	peer := "http://" + v.peer
	v.log = &tail{}
	v.cmd = exec.Command(v.bin, append([]string{
		"--name", "m", "--data-dir", v.dir, "--initial-cluster", "m=" + peer,
		"--listen-client-urls", v.endpoint(), "--advertise-client-urls", v.endpoint(),
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
	}, v.args...)...)
	v.ended = launch(t, v.cmd, v.log)
}

// launch starts an etcd, which reads options from the environment as well, and
// must not outlive the test.
func launch(t testing.TB, cmd *exec.Cmd, log *tail) (ended chan struct{}) {
	t.Helper()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the death signal is for that of the thread that has started it
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return ended
}

// listens waits until the server accepts connections; false when it ended instead.
func (v *server) listens() bool {
	deadline := time.After(30 * time.Second)
	for {
		if c, err := net.Dial("tcp", v.client); err == nil {
			c.Close()
			return true
		}
		select {
		case <-v.ended:
			return false
		case <-deadline:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (v *server) kill() {
	if v.cmd != nil {
		v.cmd.Process.Kill()
		<-v.ended
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// tail is the end of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if n := len(l.text) - 1<<10; n > 0 {
		l.text = l.text[n:]
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// raw is a client beside the store.
func (v *server) raw(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{v.endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wipe removes all keys and ends all leases, so that nothing of an earlier test
// happens any more.
func (v *server) wipe(t testing.TB) {
	t.Helper()
	c := v.raw(t)
	leases, err := c.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		c.Revoke(t.Context(), l.ID) // or it ended by itself just now
	}
	if _, err := c.Delete(t.Context(), "\x00", clientv3.WithFromKey()); err != nil {
		t.Fatal(err)
	}
}

func (v *server) config() Config { return Config{Endpoints: []string{v.endpoint()}} }

// open opens a store that is closed with the test.
func mustOpen(t testing.TB, c Config) store.Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}
