package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// asDaemon in the environment makes the test binary be sfd.
const asDaemon = "SFD_TEST_IS_SFD"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		main()
	}
	libvirttest.Main()
	os.Exit(m.Run())
}

// Addresses of the lab.
const (
	uplink   = "203.0.113.2"  // the machine's, towards the internet
	beyond   = "198.51.100.7" // a host of the internet
	resolver = "8.8.8.8"      // that guests are told by default, here another of the internet's
)

// lab is a machine for sfd, made of network namespaces that only this test sees:
// the machine's own with one uplink, and the internet at its other end.
type lab struct {
	testing.TB
	machine, internet *os.File
	dir               string
	more              []string // options
	image             string   // URL of the guest's image, on the machine's loopback

	virt *libvirttest.Host // nil: sfd starts QEMU itself
	log  *os.File
	*daemon
}

// daemon is the sfd of a lab, whichever part of a test started it last.
type daemon struct {
	cmd    *exec.Cmd
	exited chan struct{}
	client *client.Client
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return newLabOn(t, nil)
}

// newLabOn is newLab with a libvirtd unless virt is nil.
func newLabOn(t testing.TB, virt *libvirttest.Host) *lab {
	t.Helper()
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	ip := need.Program(t, "ip", "iproute2")
	l := &lab{TB: t, daemon: &daemon{}, dir: t.TempDir(), virt: virt}
	if virt != nil {
		l.dir = virt.Dir // QEMU's user may enter it
		l.more = []string{"--hypervisor", "libvirt", "--libvirt-socket", virt.Socket}
	}
	l.machine, l.internet = l.namespace(), l.namespace()
	for _, c := range []struct {
		ns   *os.File
		args string
	}{
		{l.machine, "link set lo up"},
		{l.internet, "link set lo up"},
		{l.machine, fmt.Sprintf("link add up0 type veth peer name down0 netns /proc/%d/fd/%d", os.Getpid(), l.internet.Fd())},
		{l.machine, "address add " + uplink + "/24 dev up0"},
		{l.machine, "link set up0 up"},
		{l.internet, "address add 203.0.113.1/24 dev down0"},
		{l.internet, "address add " + beyond + "/32 dev lo"},
		{l.internet, "address add " + resolver + "/32 dev lo"},
		{l.internet, "link set down0 up"},
		{l.machine, "route add default via 203.0.113.1"},
	} {
		if out, err := l.run(c.ns, ip, strings.Fields(c.args)...); err != nil {
			t.Fatalf("ip %s: %v: %s", c.args, err, out)
		}
	}
	path := guest.Image(t)
	l.image = "http://" + l.serve(l.machine, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
	}) + "/guest.qcow2"
	var err error
	if l.log, err = os.Create(filepath.Join(l.dir, "sfd.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// during is the lab for a subtest, with whose end goes what is opened for it.
func (l *lab) during(t testing.TB) *lab {
	sub := *l
	sub.TB = t
	return &sub
}

func (l *lab) namespace() *os.File {
	l.Helper()
	ns, err := newNetNS()
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { ns.Close() })
	return ns
}

// in runs fn on a thread inside a namespace; what it opens and starts is inside.
func in(ns *os.File, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func (l *lab) run(ns *os.File, program string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := in(ns, cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// serve answers HTTP inside a namespace until the test ends.
func (l *lab) serve(ns *os.File, address string, handler http.HandlerFunc) (listening string) {
	l.Helper()
	listener := l.listen(ns, address)
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	l.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

func (l *lab) listen(ns *os.File, address string) (listener net.Listener) {
	l.Helper()
	err := in(ns, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { listener.Close() })
	return listener
}

// resolve answers DNS in the internet: each name that ends in .example has the
// address of the host there.
func (l *lab) resolve() {
	l.Helper()
	var conn net.PacketConn
	err := in(l.internet, func() (err error) {
		conn, err = net.ListenPacket("udp", resolver+":53")
		return err
	})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply, err := answerDNS(buf[:n]); err == nil {
				conn.WriteTo(reply, from)
			}
		}
	}()
}

func answerDNS(request []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(request); err != nil || len(m.Questions) == 0 {
		return nil, fmt.Errorf("not a question: %w", err)
	}
	m.Response, m.Additionals = true, nil
	q := m.Questions[0]
	known := strings.HasSuffix(q.Name.String(), ".example.")
	switch {
	case known && q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(beyond).As4()},
		}}
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	}
	return m.Pack()
}

// dial connects from inside a namespace.
func dial(ctx context.Context, ns *os.File, address string) (conn net.Conn, err error) {
	err = in(ns, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}

// args are a daemon's options in the lab.
func (l *lab) args() []string {
	return append([]string{
		"--data-dir", filepath.Join(l.dir, "data"), "--client-file", filepath.Join(l.dir, "client.json"),
		"--netns-dir", filepath.Join(l.dir, "netns"), "--accel", "tcg", "--uid-base", "400000", "--log-level", "debug",
	}, l.more...)
}

// command is sfd with more options, not yet started.
func (l *lab) command(more ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append(l.args(), more...)...)
	cmd.Env = append(os.Environ(), asDaemon+"=1")
	cmd.Stdout, cmd.Stderr = l.log, l.log
	return cmd
}

// spawn starts sfd.
func (l *lab) spawn(env ...string) {
	l.Helper()
	l.cmd = l.command()
	l.cmd.Env = append(l.cmd.Env, env...)
	if err := in(l.machine, l.cmd.Start); err != nil {
		l.Fatal(err)
	}
	l.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(l.cmd, l.exited)
}

// start starts sfd and waits until it says that it is ready.
func (l *lab) start() {
	l.Helper()
	name := filepath.Join(l.dir, "notify")
	os.Remove(name)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		l.Fatal(err)
	}
	defer ready.Close()
	ready.SetReadDeadline(time.Now().Add(time.Minute))
	l.spawn("NOTIFY_SOCKET=" + name)
	go func(exited chan struct{}) {
		<-exited
		ready.SetReadDeadline(time.Now()) // nobody will say anything any more
	}(l.exited)
	buf := make([]byte, 100)
	if n, err := ready.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		l.Fatalf("sfd is not ready: %q, %v", buf[:n], err)
	}
	l.connect()
}

// connect makes a client from the file that sfd left.
func (l *lab) connect() {
	l.Helper()
	cfg, err := client.ReadFile(filepath.Join(l.dir, "client.json"))
	if err != nil {
		l.Fatal(err)
	}
	cfg.HTTP = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, l.machine, address) },
	}}
	if l.client, err = client.New(cfg); err != nil {
		l.Fatal(err)
	}
}

// kill ends sfd as a crash would.
func (l *lab) kill() {
	l.cmd.Process.Kill()
	<-l.exited
}

// stop ends sfd as a service manager would.
func (l *lab) stop() {
	l.Helper()
	l.cmd.Process.Signal(syscall.SIGTERM)
	<-l.exited
	if l.cmd.ProcessState.ExitCode() != 0 {
		l.Errorf("sfd ended with %v", l.cmd.ProcessState)
	}
}

// close ends whatever the test left: sfd, its machines, and its names.
func (l *lab) close() {
	if l.cmd != nil {
		l.kill()
	}
	if l.Failed() {
		if data, err := os.ReadFile(l.log.Name()); err == nil {
			lines := slices.DeleteFunc(strings.SplitAfter(string(data), "\n"), func(line string) bool { return strings.Contains(line, "msg=request") })
			l.Logf("the end of sfd's log, without requests:\n%s", strings.Join(lines[max(0, len(lines)-60):], ""))
		}
	}
	l.log.Close()
	tell(context.Background(), filepath.Join(l.dir, "data", guardSocket), "quit") // where there is one
	for _, pid := range l.machines() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	names, err := filepath.Glob(filepath.Join(l.dir, "netns", "*"))
	if err != nil {
		l.Error(err)
	}
	for _, name := range append(names, filepath.Join(l.dir, "netns")) {
		if err := unmount(name); err != nil {
			l.Error(err)
		}
	}
	l.ungroup()
}

// ungroup removes the control groups of the lab's machines, which may still be dying.
func (l *lab) ungroup() {
	data, err := os.ReadFile(filepath.Join(l.dir, "data", identityName))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var me identity
	if err == nil {
		err = json.Unmarshal(data, &me)
	}
	if err != nil {
		l.Error(err)
		return
	}
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(20 * time.Millisecond) {
		if err = removeCgroups(cgroup(me.tag())); err == nil {
			return
		}
	}
	l.Error(err)
}

// machines returns the process IDs of the machines of this lab by UUID: those
// processes that have a file of its data directory open and are not sfd.
func (l *lab) machines() map[string]int {
	found := map[string]int{}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		l.Fatal(err)
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		rest, ours := strings.CutPrefix(target, filepath.Join(l.dir, "data", "instances")+"/")
		if err != nil || !ours {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || l.cmd != nil && pid == l.cmd.Process.Pid {
			continue
		}
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || !strings.HasPrefix(string(name), "qemu") {
			continue // virtlogd has the console's log open
		}
		id, _, _ := strings.Cut(rest, "/")
		found[id] = pid
	}
	return found
}

// console opens the guest's console and logs in.
func (l *lab) console(ctx context.Context, id string) *guest.Console {
	l.Helper()
	c, err := l.tryConsole(ctx, id)
	if err != nil {
		l.Fatal(err)
	}
	return c
}

func (l *lab) tryConsole(ctx context.Context, id string) (*guest.Console, error) {
	stream, err := l.client.Console(l.Context(), id) // which ends with the test
	if err != nil {
		return nil, err
	}
	l.Cleanup(func() { stream.Close() })
	c := guest.NewConsole(stream)
	return c, c.Attach(ctx)
}

// said is what a guest's console log holds, to be asked by Report.
func (l *lab) said(ctx context.Context, id string) *guest.Console {
	l.Helper()
	log, err := l.client.ConsoleLog(ctx, id, 1<<16)
	if err != nil {
		l.Fatal(err)
	}
	return guest.NewConsole(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(log), io.Discard})
}

// timeout is a safety net, far beyond what anything here takes.
func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
