package guest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/configdrive"
	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// QEMU's own network, cut off from the world: a DHCP server at 10.0.2.2 that gives
// out 10.0.2.15. And one that nobody else is on.
const (
	dhcpNet  = "user,id=net,restrict=on"
	emptyNet = "hubport,id=net,hubid=1"
)

// machine is a bare QEMU with its serial port on stdin and stdout.
type machine struct {
	*guest.Console
	exited chan error
	args   []string
}

func start(t *testing.T, ctx context.Context, args ...string) *machine {
	t.Helper()
	args = append([]string{need.Program(t, "qemu-system-x86_64", "qemu-system-x86"),
		"-M", "pc", "-accel", "tcg", "-m", "128", "-nodefaults", "-no-user-config", "-display", "none",
		"-serial", "stdio", "-no-reboot"}, args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, writer := io.Pipe()
	cmd.Stdout = writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{exited: make(chan error, 1), args: args}
	m.Console = guest.NewConsole(struct {
		io.Reader
		io.Writer
	}{output, stdin})
	go func() {
		err := cmd.Wait()
		writer.Close()
		m.exited <- err
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		if t.Failed() {
			t.Logf("%q\n%s", m.args, m.Transcript())
		}
	})
	return m
}

// ended waits for QEMU to end by itself.
func (m *machine) ended(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case err := <-m.exited:
		if err != nil {
			t.Errorf("QEMU: %v", err)
		}
	case <-ctx.Done():
		t.Error("QEMU goes on")
	}
}

func safetyNet(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

const userData = "#!/bin/sh\necho I run on $(hostname) with $(ip -4 -o addr show eth0 | grep -c 10.0.2.15)\n"

// drive writes a config drive for a guest behind QEMU's own network.
func drive(t *testing.T, mtu int) string {
	t.Helper()
	data, err := configdrive.Build(configdrive.Config{
		UUID: "7d1cbbb6-77d3-4d26-b1f0-3d0e9d4b0d11", Name: "web", UserData: []byte(userData),
		SSHKeys: []string{"ssh-ed25519 AAAAC3Nza me@\"home\""},
		Interfaces: []configdrive.Interface{{
			UUID: "a1", Network: "b1", MAC: "52:54:00:12:34:56", Addr: netip.MustParsePrefix("10.0.2.15/24"),
			Gateway: netip.MustParseAddr("10.0.2.2"), DefaultRoute: true, MTU: mtu,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.iso")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// want compares the values of a report that a test cares about.
func want(t *testing.T, ctx context.Context, m *machine, words string, pairs ...string) {
	t.Helper()
	report, err := m.Report(ctx, words)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if report[pairs[i]] != pairs[i+1] {
			t.Errorf("%s: %s=%s, want %s", words, pairs[i], report[pairs[i]], pairs[i+1])
		}
	}
}

func run(t *testing.T, ctx context.Context, m *machine, command, output string) {
	t.Helper()
	got, status, err := m.Run(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	if got != output || status != 0 {
		t.Errorf("%s: %q, status %d; want %q, 0", command, got, status, output)
	}
}

// The whole of what package guest promises, from its own disk.
func TestBootFromDisk(t *testing.T) {
	ctx := safetyNet(t)
	image := guest.Image(t)
	m := start(t, ctx, "-snapshot", "-drive", "file="+image+",format=qcow2,if=virtio",
		"-drive", "file="+drive(t, 1450)+",format=raw,if=virtio,readonly=on", "-device", "virtio-rng-pci",
		"-netdev", dhcpNet, "-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56")

	want(t, ctx, m, "configdrive device=/dev/vdb", "uuid", "7d1cbbb6-77d3-4d26-b1f0-3d0e9d4b0d11", "name", "web")
	want(t, ctx, m, "sshkey", "sha256", sum(`ssh-ed25519 AAAAC3Nza me@"home"`))
	want(t, ctx, m, "configdrive eth0", "address", "10.0.2.15", "netmask", "255.255.255.0", "mtu", "1450", "router", "10.0.2.2")
	want(t, ctx, m, "hostname", "name", "web.local")
	want(t, ctx, m, "userdata", "sha256", sum(userData))
	want(t, ctx, m, "dhcp eth0", "event", "bound", "address", "10.0.2.15", "server", "10.0.2.2", "router", "none", "mtu", "none")
	want(t, ctx, m, "match eth0", "address", "yes", "mtu", "no")
	if _, err := m.Line(ctx, "userdata: I run on web.local with 1"); err != nil {
		t.Error(err)
	}
	if err := m.Login(ctx); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, m, "id -u", "0\n")
	run(t, ctx, m, "wget -q -O - http://127.0.0.1/", "web.local\n")
	run(t, ctx, m, "ip -4 -o addr show eth0 | grep -o 'inet [^ ]*'", "inet 10.0.2.15/24\n")
	run(t, ctx, m, "echo a; echo b >&2", "a\nb\n")
	if _, status, err := m.Run(ctx, "exit_with() { return 3; }; exit_with"); status != 3 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if _, _, err := m.Run(ctx, "poweroff -f"); err == nil {
		t.Error("poweroff -f came back")
	}
	m.ended(t, ctx)
}

// The other buses that the guest has drivers for; the config drive as a CD too. The
// disk to boot from is named, as drivers do it: of two disks of one bus the firmware
// takes the one that it finds first, which with NVMe is either.
func TestBootFromOtherBuses(t *testing.T) {
	for name, args := range map[string][]string{
		"ide": {"-device", "ide-hd,drive=disk,bus=ide.0,bootindex=1", "-device", "ide-cd,drive=config,bus=ide.1",
			"-device", "vmxnet3,netdev=net,mac=52:54:00:12:34:56"},
		"scsi": {"-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk,bootindex=1", "-device", "scsi-hd,drive=config",
			"-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56"},
		"nvme": {"-device", "nvme,serial=1,drive=disk,bootindex=1", "-device", "nvme,serial=2,drive=config",
			"-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := safetyNet(t)
			m := start(t, ctx, append([]string{"-snapshot", "-netdev", dhcpNet,
				"-drive", "file=" + guest.Image(t) + ",format=qcow2,if=none,id=disk",
				"-drive", "file=" + drive(t, 1450) + ",format=raw,if=none,id=config,readonly=on"}, args...)...)
			want(t, ctx, m, "hostname", "name", "web.local")
			want(t, ctx, m, "match eth0", "address", "yes")
			if _, err := m.Expect(ctx, "\nweb.local login: "); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without a disk, a config drive or an answer to DHCP it comes up all the same;
// the power button switches it off.
func TestBootFromKernel(t *testing.T) {
	ctx := safetyNet(t)
	kernel, initrd := guest.Kernel(t)
	monitor := filepath.Join(t.TempDir(), "monitor")
	m := start(t, ctx, "-kernel", kernel, "-initrd", initrd, "-append", guest.CommandLine,
		"-netdev", emptyNet, "-device", "virtio-net-pci,netdev=net",
		"-monitor", "unix:"+monitor+",server=on,wait=off")
	want(t, ctx, m, "configdrive", "device", "none")
	want(t, ctx, m, "dhcp eth0", "event", "leasefail")
	if err := m.Login(ctx); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, m, "hostname", "sfguest\n")
	if strings.Contains(m.Transcript(), "deaf") {
		t.Error("the guest does not listen to its power button")
	}
	press(t, ctx, monitor, "system_powerdown\n")
	if _, err := m.Line(ctx, "sfguest: power button"); err != nil {
		t.Error(err)
	}
	m.ended(t, ctx)
}

// A guest whose network answers nobody takes what its config drive says.
func TestStaticAddress(t *testing.T) {
	ctx := safetyNet(t)
	kernel, initrd := guest.Kernel(t)
	m := start(t, ctx, "-kernel", kernel, "-initrd", initrd, "-append", guest.CommandLine,
		"-drive", "file="+drive(t, 1400)+",format=raw,if=virtio,readonly=on",
		"-netdev", emptyNet, "-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56")
	want(t, ctx, m, "static eth0", "address", "10.0.2.15")
	if err := m.Login(ctx); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, m, "cat /sys/class/net/eth0/mtu; ip -4 -o addr show eth0 | grep -o 'inet [^ ]*'", "1400\ninet 10.0.2.15/24\n")
	// reboot restarts the machine: with -no-reboot QEMU ends instead
	if _, _, err := m.Run(ctx, "reboot -f"); err == nil {
		t.Error("reboot -f came back")
	}
	m.ended(t, ctx)
}

// press types a command at QEMU's monitor, and waits until it has been taken: QEMU
// forgets what it has not read when a connection ends.
func press(t *testing.T, ctx context.Context, monitor, command string) {
	t.Helper()
	conn, err := net.Dial("unix", monitor)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := guest.NewConsole(conn)
	if _, err := c.Expect(ctx, "(qemu) "); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, command); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Expect(ctx, "\n(qemu) "); err != nil {
		t.Fatal(err)
	}
}

func sum(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}
