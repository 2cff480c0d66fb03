package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/driver/drivertest"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/sf/spec"
)

// TestOperations does everything with an instance that can be done, by sf-client.
func TestOperations(t *testing.T) {
	t.Run("qemu", func(t *testing.T) {
		t.Parallel() // one virtual CPU each
		operations(t, newLab(t))
	})
	t.Run("libvirt", func(t *testing.T) {
		t.Parallel()
		operations(t, newLabOn(t, libvirttest.Start(t)))
	})
}

// Without a libvirtd sfd does not start, and says what to install.
func TestLibvirtAbsent(t *testing.T) {
	t.Parallel() // half a minute of waiting for it
	l := newLab(t)
	cmd := l.command("--hypervisor", "libvirt", "--libvirt-socket", filepath.Join(l.dir, "nobody"))
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := in(l.machine, cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "install libvirt-daemon-system") {
		t.Errorf("%v: %s", err, said.String())
	}
}

// story is a guest and what is done with it.
type story struct {
	*lab
	ctx context.Context
	id  string
}

func operations(t *testing.T, l *lab) {
	ctx := timeout(t)
	l.start()
	s := &story{lab: l, ctx: ctx}
	s.sf(ctx, "network", "create", "10.0.0.0/24", "lan")
	networks, err := l.client.Networks(ctx, false)
	if err != nil || len(networks) != 1 {
		t.Fatalf("%d networks, %v", len(networks), err)
	}
	s.id = s.create("main", "8@"+l.image, "1", networks[0].UUID)
	for _, step := range []struct {
		name string
		do   func(*story)
	}{
		{"console", (*story).console},
		{"raw ports", (*story).rawPorts},
		{"screen", (*story).screen},
		{"pause", (*story).pause},
		{"reboots", (*story).reboots},
		{"power", (*story).power},
		{"guest acts", (*story).guestActs},
		{"snapshot", (*story).snapshot},
		{"delete", (*story).delete},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			of := *s
			of.lab = s.during(t)
			step.do(&of)
		})
		if !ok {
			return // the guest is not what the next step expects
		}
	}
}

// create makes an instance and waits for its login prompt.
func (s *story) create(name, boot, data, network string) string {
	s.Helper()
	out := s.sf(s.ctx, "--json", "instance", "create", name, "1", "256", "-d", boot, "-d", data, "-n", network, "-I", sshKey)
	var made show
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Power != "on" {
		s.Fatalf("instance create: %v: %s", err, out)
	}
	s.sf(s.ctx, "instance", "wait", made.UUID, "--for", "login", "--timeout", "5m")
	return made.UUID
}

// is waits until the power is as it should be.
func (s *story) is(power string) {
	s.Helper()
	_, err := s.client.WaitInstance(s.ctx, s.id, func(i *spec.Instance) (bool, error) {
		return string(i.Status.Power) == power, nil
	})
	if err != nil {
		s.Fatalf("not %s: %v", power, err)
	}
	if got := s.show(s.ctx, s.id).Power; got != power {
		s.Errorf("instance show says %s, want %s", got, power)
	}
}

func (s *story) login() {
	s.Helper()
	s.sf(s.ctx, "instance", "wait", s.id, "--for", "login", "--timeout", "5m")
}

// run has a shell of the guest do something.
func (s *story) run(command string) string {
	s.Helper()
	out, status, err := s.lab.console(s.ctx, s.id).Run(s.ctx, command)
	if err != nil || status != 0 {
		s.Fatalf("%s: status %d, %v: %s", command, status, err, out)
	}
	return strings.TrimSpace(out)
}

// bootID tells one boot of the guest from another.
func (s *story) bootID() string {
	s.Helper()
	return s.run("cat /proc/sys/kernel/random/boot_id")
}

// console pipes commands into the interactive console, and reads its log.
func (s *story) console() {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	cmd := s.cli(ctx, "instance", "console", s.id)
	typed, err := cmd.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := in(s.machine, cmd.Start); err != nil {
		s.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	if _, err := io.WriteString(typed, "\necho $((6 * 7))-is-the-answer\n"); err != nil {
		s.Fatal(err)
	}
	if err := reads(said, "42-is-the-answer"); err != nil {
		s.Error(err)
	}
	if out := s.sf(s.ctx, "instance", "consoledata", s.id, "100000"); !strings.Contains(out, "42-is-the-answer") || !strings.Contains(out, "login:") {
		s.Errorf("the console log lacks what was on the console:\n%s", out)
	}
	if out := s.sf(s.ctx, "instance", "consoledata", s.id, "20"); len(strings.TrimSuffix(out, "\n")) > 20 {
		s.Errorf("the last 20 bytes of the log are %q", out)
	}
}

// reads reads until text was there.
func reads(r io.Reader, text string) error {
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(all, []byte(text)) {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			return fmt.Errorf("%w before %q: %q", err, text, all)
		}
	}
	return nil
}

// rawPorts connects to both ports of the seed, which only the host reaches.
func (s *story) rawPorts() {
	v := s.show(s.ctx, s.id)
	if v.ConsolePort == 0 || v.VDIPort == 0 {
		s.Fatalf("no raw ports: %+v", v)
	}
	open := func(port int) net.Conn {
		conn, err := dial(s.ctx, s.machine, fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { conn.Close() })
		return conn
	}
	console := open(v.ConsolePort)
	if _, err := io.WriteString(console, "\r\necho raw-$((40 + 2))\r\n"); err != nil {
		s.Fatal(err)
	}
	if err := reads(console, "raw-42"); err != nil {
		s.Errorf("console port: %v", err)
	}
	if err := reads(open(v.VDIPort), "RFB 003.008\n"); err != nil {
		s.Errorf("vdi port: %v", err)
	}
	for _, port := range []int{v.ConsolePort, v.VDIPort} {
		if conn, err := dial(s.ctx, s.internet, fmt.Sprintf("%s:%d", uplink, port)); err == nil {
			conn.Close()
			s.Errorf("port %d is open to the world", port)
		}
	}
}

// screen looks at the guest's screen through the API, and by way of the port that
// sf-client opens.
func (s *story) screen() {
	direct, err := s.client.Display(s.ctx, s.id)
	if err != nil {
		s.Fatal(err)
	}
	defer direct.Close()
	s.shows("the API", direct)
	ctx, cancel := context.WithCancel(s.ctx)
	cmd := s.cli(ctx, "--simple", "instance", "vdi", s.id)
	said, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := in(s.machine, cmd.Start); err != nil {
		s.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	where, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		s.Fatalf("instance vdi: %q, %v", where, err)
	}
	viewer, err := dial(s.ctx, s.machine, strings.TrimSpace(where))
	if err != nil {
		s.Fatal(err)
	}
	defer viewer.Close()
	s.shows("instance vdi", viewer)
}

func (s *story) shows(way string, conn io.ReadWriteCloser) {
	s.Helper()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	picture, err := drivertest.Screenshot(conn)
	if err != nil {
		s.Fatalf("the screen by way of %s: %v", way, err)
	}
	if drivertest.Blank(picture) {
		s.Errorf("the screen by way of %s, %v, is blank", way, picture.Bounds())
	}
}

func (s *story) pause() {
	before := s.bootID()
	s.sf(s.ctx, "instance", "pause", s.id)
	s.is("paused")
	s.sf(s.ctx, "instance", "unpause", s.id)
	s.is("on")
	if after := s.bootID(); after != before {
		s.Errorf("boot %s went on as %s", before, after)
	}
}

func (s *story) reboots() {
	for _, how := range []string{"--soft", "--hard"} {
		before := s.bootID()
		s.sf(s.ctx, "instance", "reboot", how, s.id)
		s.login()
		if after := s.bootID(); after == before {
			s.Errorf("reboot %s: the guest runs on", how)
		}
		s.is("on")
	}
}

func (s *story) power() {
	s.sf(s.ctx, "instance", "poweroff", s.id)
	s.is("off")
	if pid, runs := s.machines()[s.id]; runs {
		s.Errorf("it is off and process %d runs it", pid)
	}
	// Off stays off, whoever restarts what.
	s.stop()
	s.start()
	s.is("off")
	s.sf(s.ctx, "instance", "poweron", s.id)
	s.is("on")
	s.login()
}

// guestActs has the guest end by itself, in all the ways that there are.
func (s *story) guestActs() {
	type act struct {
		what, power string
		do          func()
	}
	shell := func(command string) func() {
		return func() {
			c := s.lab.console(s.ctx, s.id)
			go c.Run(s.ctx, command) // whose end nobody will tell
		}
	}
	for _, a := range []act{
		{"shutdown", "off", shell("poweroff -f")},
		{"crash", "crashed", func() { syscall.Kill(s.machines()[s.id], syscall.SIGKILL) }},
	} {
		a.do()
		s.is(a.power)
		s.sf(s.ctx, "instance", "poweron", s.id)
		s.login()
	}
	before := s.bootID()
	shell("reboot -f")()
	s.login()
	if after := s.bootID(); after == before {
		s.Error("the guest restarted itself and is the same boot")
	}
	s.is("on")
}

// snapshot copies both disks of the running guest, and boots from the copy.
func (s *story) snapshot() {
	before := s.bootID()
	s.run("printf before-the-copy | dd of=/dev/vdc conv=fsync 2>/dev/null")
	s.sf(s.ctx, "instance", "snapshot", s.id, "true")
	s.run("printf after--the-copy | dd of=/dev/vdc conv=fsync 2>/dev/null")
	if after := s.bootID(); after != before {
		s.Errorf("the guest was restarted by its snapshot: %s, %s", before, after)
	}
	v := s.show(s.ctx, s.id)
	if len(v.Snapshots) != 2 || v.Snapshots[0].UUID != v.Snapshots[1].UUID {
		s.Fatalf("snapshots %+v, want one of two devices", v.Snapshots)
	}
	id := v.Snapshots[0].UUID
	file := filepath.Join(s.dir, "copy.qcow2")
	s.sf(s.ctx, "snapshot", "download", id, "vdc", "-o", file)
	if out, err := exec.Command(need.Program(s, "qemu-img", "qemu-utils"), "check", file).CombinedOutput(); err != nil {
		s.Errorf("qemu-img check: %v: %s", err, out)
	}
	networks, err := s.client.Networks(s.ctx, false)
	if err != nil {
		s.Fatal(err)
	}
	of := *s
	of.id = s.create("again", "8@snapshot:"+id, "1@snapshot:"+id+"/vdc", networks[0].UUID)
	if text := of.run("head -c 15 /dev/vdc"); text != "before-the-copy" {
		s.Errorf("the copy holds %q", text)
	}
	s.sf(s.ctx, "snapshot", "delete", id)
	of.sf(s.ctx, "instance", "reboot", "--hard", of.id) // it lives without what it was made from
	of.login()
	if text := of.run("head -c 15 /dev/vdc"); text != "before-the-copy" {
		s.Errorf("after the snapshot's end the copy holds %q", text)
	}
	s.sf(s.ctx, "instance", "delete", of.id)
	if files := entries(s.TB, filepath.Join(s.dir, "data", "snapshots")); len(files) > 0 {
		s.Errorf("left of snapshots: %v", files)
	}
}

// delete deletes an instance in each state of its power.
func (s *story) delete() {
	networks, err := s.client.Networks(s.ctx, false)
	if err != nil {
		s.Fatal(err)
	}
	s.sf(s.ctx, "instance", "delete", s.id)
	for _, state := range []string{"poweroff", "pause"} {
		id := s.create(state, "8@"+s.image, "1", networks[0].UUID)
		s.sf(s.ctx, "instance", state, id)
		s.sf(s.ctx, "instance", "delete", id)
		if _, err := s.client.WaitInstance(s.ctx, id, client.InstanceGone); err != nil {
			s.Error(err)
		}
	}
	s.left(s.TB, nil, 1, 0)
	s.sf(s.ctx, "network", "delete", networks[0].UUID)
	s.left(s.TB, nil, 0, 0)
}
