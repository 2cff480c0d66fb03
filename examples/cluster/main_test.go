//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/libvirt/libvirtd"
	"github.com/shakenfist/cloud/examples/internal/launch"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// asCluster in the environment makes the test's program be cluster.
const asCluster = "CLUSTER_TEST_IS_CLUSTER"

func TestMain(m *testing.M) {
	libvirtd.Main()
	if os.Getenv(asCluster) != "" {
		main()
		os.Exit(0)
	}
	status := m.Run()
	os.RemoveAll(built)
	os.Exit(status)
}

// built is where build has put what it compiled.
var built string

// build compiles sfd and sf-client, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp("", "sf-bin-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", built+"/", "../../cmd/sfd", "../../cmd/sf-client")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return built, nil
})

// lab is a cluster beside whatever else is on the machine.
type lab struct {
	*testing.T
	bin, dir, prefix string
}

func newLab(t *testing.T, letter string) *lab {
	t.Helper()
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	need.Program(t, "etcd", "etcd-server")
	need.Program(t, "ip", "iproute2")
	guest.Image(t) // says what is missing
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := os.MkdirTemp("", "sfc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o711); err != nil {
		t.Fatal(err)
	}
	l := &lab{T: t, bin: bin, dir: filepath.Join(parent, "c"), prefix: fmt.Sprintf("t%s%d-", letter, os.Getpid()%1e6)}
	t.Cleanup(func() {
		if out, err := l.cluster("down"); err != nil {
			t.Errorf("down: %v: %s", err, out)
		}
	})
	return l
}

// cluster runs this program as somebody would.
func (l *lab) cluster(args ...string) (string, error) {
	cmd := exec.Command("/proc/self/exe", append([]string{"-dir", l.dir, "-prefix", l.prefix, "-bin", l.bin, "-sfd", "--accel tcg"}, args...)...)
	cmd.Env = append(launch.Clean(os.Environ()), asCluster+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is cluster where nothing may go wrong.
func (l *lab) must(args ...string) string {
	l.Helper()
	out, err := l.cluster(args...)
	if err != nil {
		l.Fatalf("cluster %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (l *lab) node(k int) string { return l.prefix + strconv.Itoa(k) }

// command is sf-client at a node, as the aliases make it.
func (l *lab) command(ctx context.Context, k int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(l.bin, "sf-client"), args...)
	cmd.Env = append(launch.Clean(os.Environ()), "HOME="+filepath.Join(l.dir, l.node(k)))
	return cmd
}

func (l *lab) sf(ctx context.Context, k int, args ...string) string {
	l.Helper()
	out, err := l.command(ctx, k, args...).CombinedOutput()
	if err != nil {
		l.Fatalf("sf-client %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// create makes the network by way of one node and an instance on each by way of it.
func (l *lab) create(ctx context.Context, nodes int) {
	l.Helper()
	l.sf(ctx, 1, "network", "create", "10.0.0.0/24", "lan")
	for k := 1; k <= nodes; k++ {
		shown := l.sf(ctx, k, "instance", "create", "on-"+l.node(k), "1", "256", "-d", "1@"+imageURL, "-n", fmt.Sprintf("lan@10.0.0.1%d", k), "-p", l.node(k))
		if !regexp.MustCompile(`node +: ` + l.node(k)).MatchString(shown) {
			l.Errorf("it is elsewhere: %s", shown)
		}
	}
}

// ping pings from the guest of a node, on its console.
func (l *lab) ping(ctx context.Context, k int, to string) {
	l.Helper()
	cmd := l.command(ctx, k, "instance", "console", "on-"+l.node(k))
	in, err := cmd.StdinPipe()
	if err != nil {
		l.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}()
	c := guest.NewConsole(struct {
		io.Reader
		io.Writer
	}{out, in})
	if err := c.Attach(ctx); err != nil {
		l.Fatalf("the console of %s: %v; %s", l.node(k), err, complaints.String())
	}
	for {
		said, status, err := c.Run(ctx, "ping -c 1 -W 2 "+to)
		if err != nil {
			l.Fatalf("ping %s from %s: %v", to, l.node(k), err)
		}
		if status == 0 {
			return
		}
		l.Logf("ping %s from %s: %s", to, l.node(k), said) // ctx bounds this
	}
}

// float gives the guest of a node a floating address, and reaches it from the world and
// from another guest.
func (l *lab) float(ctx context.Context, k int) {
	l.Helper()
	l.sf(ctx, 1, "interface", "float", "on-"+l.node(k)+"/0")
	shown := l.sf(ctx, 1, "instance", "show", "on-"+l.node(k))
	address := regexp.MustCompile(`192\.0\.2\.\d+`).FindString(shown)
	if address == "" {
		l.Fatalf("it has no floating address: %s", shown)
	}
	l.ping(ctx, 1, address)
	for {
		err := l.echo(netip.MustParseAddr(address))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			l.Fatalf("%s does not answer the world: %v", address, err)
		}
	}
}

// echo pings an address once from the world.
func (l *lab) echo(to netip.Addr) error {
	var conn *icmp.PacketConn
	err := inside(l.prefix+"world", func() (err error) {
		conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	request := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: 1}}
	packet, err := request.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	for buf := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(1, buf[:n]) // 1 is ICMP for IPv4
		if err == nil && m.Type == ipv4.ICMPTypeEchoReply && from.String() == to.String() {
			return nil
		}
	}
}

// down ends the cluster and looks for what could be left, knowing nothing of how the
// program does.
func (l *lab) down() {
	l.Helper()
	groups := l.groups()
	if len(groups) == 0 {
		l.Error("no machine has a control group: nothing to look for later")
	}
	out := l.must("down")
	l.Log(out)
	if !strings.Contains(out, "Nothing of the cluster is left.") {
		l.Errorf("down says %s", out)
	}
	l.nothing(groups)
	if out := l.must("down"); !strings.Contains(out, "nothing to remove") {
		l.Errorf("down again says %s", out)
	}
}

func (l *lab) nothing(groups []string) {
	l.Helper()
	names, _ := filepath.Glob("/run/netns/" + l.prefix + "*")
	for _, g := range groups {
		found, _ := filepath.Glob("/sys/fs/cgroup/*/" + g)
		unified, _ := filepath.Glob("/sys/fs/cgroup/" + g)
		names = append(append(names, found...), unified...)
	}
	if _, err := os.Lstat(l.dir); err == nil {
		names = append(names, l.dir)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(l.dir)) || bytes.Contains(mounts, []byte("/"+l.prefix)) {
		l.Errorf("mounts are left: %v: %s", err, mounts)
	}
	devices, err := net.Interfaces()
	for _, d := range devices {
		if strings.HasPrefix(d.Name, l.prefix) {
			names = append(names, d.Name)
		}
	}
	for _, pid := range l.processes() {
		names = append(names, "process "+pid)
	}
	if err != nil || len(names) > 0 {
		l.Errorf("left: %q, %v", names, err)
	}
}

// processes are those that have the cluster's directory in their arguments or among
// their open files.
func (l *lab) processes() (pids []string) {
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range found {
		args, _ := os.ReadFile(p + "/cmdline")
		ours := bytes.Contains(args, []byte(l.dir))
		links, _ := filepath.Glob(p + "/fd/*")
		for _, link := range links {
			target, _ := os.Readlink(link)
			ours = ours || strings.HasPrefix(target, l.dir)
		}
		if ours && filepath.Base(p) != strconv.Itoa(os.Getpid()) {
			pids = append(pids, filepath.Base(p))
		}
	}
	return pids
}

// groups are the control groups, by name, that the cluster's machines are in.
func (l *lab) groups() (names []string) {
	for _, pid := range l.processes() {
		text, _ := os.ReadFile("/proc/" + pid + "/cgroup")
		if name := regexp.MustCompile(`/(sf-[0-9a-f]{6})/`).FindSubmatch(text); name != nil {
			names = append(names, string(name[1]))
		}
	}
	return names
}

func (l *lab) pid(name string) int {
	l.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		l.Fatal(err)
	}
	return pid
}

// kill kills a process and waits until it is dead, which on a busy machine is later.
func (l *lab) kill(name string) {
	l.Helper()
	pid := l.pid(name)
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		l.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		l.Fatal(err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Minute/time.Millisecond))
		switch {
		case n > 0:
			return
		case !errors.Is(err, unix.EINTR):
			l.Fatalf("%s, process %d, does not die: %v", name, pid, err)
		}
	}
}

// timeout is a safety net, far beyond what anything here takes.
func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Three machines come up as one cloud that sf-client can use from the host, a node
// that is harmed can be mended, and nothing of it is left at the end.
func TestCluster(t *testing.T) {
	t.Parallel()
	l := newLab(t, "q")
	ctx := timeout(t)
	if out := l.must("up"); !strings.Contains(out, "The cluster is up") || !strings.Contains(out, l.node(3)+" instance console") {
		t.Errorf("up says %s", out)
	}
	if out, err := l.cluster("up"); err == nil || !strings.Contains(out, "a cluster is up already") {
		t.Errorf("up again: %v: %s", err, out)
	}
	l.create(ctx, 3)
	l.kill(l.node(2) + "/sfd.pid")
	l.must("start", l.node(2))
	for k := 1; k <= 3; k++ {
		l.sf(ctx, k, "instance", "wait", "on-"+l.node(k), "--for", "login")
	}
	for k := 1; k <= 3; k++ {
		l.ping(ctx, k, fmt.Sprintf("10.0.0.1%d", k%3+1))
	}
	l.ping(ctx, 2, beyond)
	l.ping(ctx, 2, worldName)
	l.ping(ctx, 1, "on-"+l.node(3))
	l.float(ctx, 3)
	l.down()
}

// On libvirt the same, and what is left when the process that looks after it all is
// killed can be removed.
func TestLibvirtAndCrash(t *testing.T) {
	t.Parallel()
	need.Program(t, "libvirtd", "libvirt-daemon")
	l := newLab(t, "v")
	if err := libvirtd.Missing(); err != nil {
		need.Missing(t, "%v (`make deps` does)", err)
	}
	ctx := timeout(t)
	l.must("-nodes", "1", "-hypervisor", "libvirt", "up")
	l.create(ctx, 1)
	l.kill("supervisor.pid")
	if out, err := l.cluster("up"); err == nil || !strings.Contains(out, "what is left of a cluster") {
		t.Errorf("up after a crash: %v: %s", err, out)
	}
	l.must("down")
	l.nothing(nil)
}

// A start that fails, and one that is killed, leave nothing in the end.
func TestFailedStart(t *testing.T) {
	t.Parallel()
	l := newLab(t, "f")
	out, err := l.cluster("-nodes", "1", "-sfd", "--no-such-option", "up")
	if err == nil || !strings.Contains(out, "no-such-option") || !strings.Contains(out, "Nothing of the cluster is left.") {
		t.Errorf("a start with a bad option: %v: %s", err, out)
	}
	l.nothing(nil)
	cmd := exec.Command("/proc/self/exe", "-dir", l.dir, "-prefix", l.prefix, "-bin", l.bin, "up")
	cmd.Env = append(os.Environ(), asCluster+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	for { // until it starts machines
		if _, err := os.Stat(filepath.Join(l.dir, l.node(1), "etcd.pid")); err == nil {
			break
		}
		select {
		case <-ended:
			t.Fatal("a start that was to be killed has ended by itself")
		case <-time.After(10 * time.Millisecond):
		}
	}
	cmd.Process.Kill()
	<-ended
	if out := l.must("down"); !strings.Contains(out, "etcd[") {
		t.Errorf("down says %s", out)
	}
	l.nothing(nil)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
