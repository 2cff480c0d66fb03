package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

func TestLocks(t *testing.T) {
	c := inDir(t)
	first, err := lockDir(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	pid := fmt.Sprintf("another sfd (pid %d)", os.Getpid())
	if _, err := lockDir(t.Context(), c); err == nil || !strings.Contains(err.Error(), pid) {
		t.Errorf("a second one in the data directory: %v", err)
	}
	first.Close()
	again, err := lockDir(t.Context(), c)
	if err != nil {
		t.Fatalf("after the first: %v", err)
	}
	again.Close()

	tag := "test/" + filepath.Base(c.dataDir) + fmt.Sprint(os.Getpid())
	host, err := lockHost(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockHost(t.Context(), tag); err == nil || !strings.Contains(err.Error(), pid) {
		t.Errorf("a second one on the host: %v", err)
	}
	other, err := lockHost(t.Context(), tag+"-other")
	if err != nil {
		t.Fatalf("with another mark: %v", err)
	}
	other.Close()
	host.Close()
	if host, err = lockHost(t.Context(), tag); err != nil {
		t.Fatalf("after the first: %v", err)
	}
	host.Close()
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	manager.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := manager.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notify("READY=1"); err != nil {
		t.Errorf("without a manager: %v", err)
	}
}

// TestProbe holds that the probe uses all kinds of devices and leaves nothing,
// nor what one left that was killed.
func TestProbe(t *testing.T) {
	need.Root(t)
	parent := t.TempDir()
	names := filepath.Join(parent, "probe")
	if err := os.Mkdir(names, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := unix.Mount(names, names, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(names, "sf-of-the-killed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mesh := range []bool{false, true} {
		if err := probeKernel(t.Context(), names, mesh); err != nil {
			t.Errorf("mesh %v: %v", mesh, err)
		}
	}
	if left := entries(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), names) {
		t.Errorf("still mounted (%v)", err)
	}
}

// TestRefusals starts sfd where it cannot run, and reads why.
func TestRefusals(t *testing.T) {
	l := newLab(t)
	l.start()
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"a second one", fmt.Sprintf("another sfd (pid %d) uses %s", l.cmd.Process.Pid, filepath.Join(l.dir, "data")), []string{"--api-port", "0"}},
		{"the port is taken", "port 13000 of 127.0.0.1 is in use", []string{"--data-dir", filepath.Join(l.dir, "data2")}},
		{"not our address", "this machine does not have this address", []string{"--api-address", "192.0.2.1", "--insecure-listen"}},
		{"no such program", "install the Debian package qemu-system-x86", []string{"--qemu", "qemu-nonesuch"}},
		{"no such device", "--node-egress-nic eth7: this machine has no such network device", []string{"--node-egress-nic", "eth7"}},
		{"no such address", "--node-ip 192.0.2.1: no network device", []string{"--node-ip", "192.0.2.1"}},
		{"not a directory", "data directory", []string{"--data-dir", "/proc/nothing", "--api-port", "0"}},
		{"nothing to clean up", "is no data directory of sfd", []string{"--cleanup", "--data-dir", filepath.Join(l.dir, "data3")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said strings.Builder
			cmd := l.command(append(test.args, "--log-level", "error")...)
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := in(l.machine, cmd.Start); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), test.want) || strings.Count(said.String(), "\n") != 1 {
				t.Errorf("%v: %q, want one line with %q", cmd.ProcessState, said.String(), test.want)
			}
		})
	}
	t.Run("a copy of the data directory", func(t *testing.T) { refuseCopy(t, l) })
	l.stop()
}

// refuseCopy runs a second sfd over a copy of the first one's data directory: a
// different directory, and the same mark on the host.
func refuseCopy(t *testing.T, l *lab) {
	dir := filepath.Join(l.dir, "copy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{storeName, identityName} {
		data, err := os.ReadFile(filepath.Join(l.dir, "data", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := l.run(l.machine, "/usr/bin/env", append([]string{asDaemon + "=1", exe(t)},
		append(l.args(), "--data-dir", dir, "--api-port", "0", "--log-level", "error")...)...)
	want := fmt.Sprintf("another sfd (pid %d) runs the networks", l.cmd.Process.Pid)
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

func exe(t *testing.T) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
