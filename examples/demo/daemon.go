//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shakenfist/cloud/examples/internal/launch"
)

// daemon is an sfd with everything of its own below one directory.
type daemon struct {
	bin, dir string
	pid      int
	exited   chan struct{} // nil for a daemon that an earlier demonstration started
	status   error         // how it exited
}

func (s *daemon) clientFile() string { return filepath.Join(s.dir, ".shakenfist") }
func (s *daemon) log() string        { return filepath.Join(s.dir, "sfd.log") }

// options keep this daemon apart from another one on the host. They are chosen
// once and remembered.
func (s *daemon) options() ([]string, error) {
	remembered := filepath.Join(s.dir, "options")
	data, err := os.ReadFile(remembered)
	if err == nil {
		return strings.Fields(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	floating, err := freeBlock()
	if err != nil {
		return nil, err
	}
	options := []string{
		"--data-dir", filepath.Join(s.dir, "data"), "--client-file", s.clientFile(),
		"--netns-dir", filepath.Join(s.dir, "netns"), "--api-port", freePort(),
		"--floating-network", floating, "--uid-base", "300000",
	}
	return options, os.WriteFile(remembered, []byte(strings.Join(options, " ")), 0o600)
}

// startDaemon starts sfd and waits until it says that it is ready, as a service
// manager does.
func startDaemon(ctx context.Context, bin, dir string) (*daemon, error) {
	s := &daemon{bin: bin, dir: dir, exited: make(chan struct{})}
	options, err := s.options()
	if err != nil {
		return s, err
	}
	ready, err := launch.Listen(filepath.Join(dir, "notify"))
	if err != nil {
		return s, err
	}
	defer ready.Close()
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return s, err
	}
	defer log.Close()
	fmt.Printf("$ sfd %s\n", strings.Join(options, " "))
	cmd := exec.Command(filepath.Join(bin, "sfd"), options...)
	cmd.Env = append(launch.Clean(os.Environ()), ready.Env())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for us to pass on
	if err := cmd.Start(); err != nil {
		return s, err
	}
	s.pid = cmd.Process.Pid
	go func() {
		s.status = cmd.Wait()
		close(s.exited)
	}()
	return s, ready.Await(ctx, s.exited)
}

// client runs sf-client as somebody whose home holds the client file.
func (s *daemon) client(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "sf-client"), args...)
	cmd.Env = append(launch.Clean(os.Environ()), "HOME="+s.dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr // progress is on standard error
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("sf-client %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), err
}

// stop ends sfd gracefully.
func (s *daemon) stop(ctx context.Context) error {
	err := syscall.Kill(s.pid, syscall.SIGTERM)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return nil
	case err != nil:
		return err
	case s.exited == nil:
		return gone(ctx, s.pid)
	}
	select {
	case <-s.exited:
		return s.status
	case <-ctx.Done():
		return fmt.Errorf("sfd does not stop: %w", ctx.Err())
	}
}

// gone waits for the end of a process that is not our child.
func gone(ctx context.Context, pid int) error {
	for _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil; _, err = os.Stat("/proc/" + strconv.Itoa(pid)) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// cleanup has sfd remove what it made on the host.
func (s *daemon) cleanup(ctx context.Context) error {
	options, err := s.options()
	if err != nil {
		return err
	}
	fmt.Println("$ sfd --cleanup")
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "sfd"), append(options, "--cleanup", "--log-level", "error")...)
	cmd.Env = launch.Clean(os.Environ())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// showLog prints the end of sfd's log, for somebody whose demonstration failed.
func (s *daemon) showLog() {
	if s == nil {
		return
	}
	f, err := os.Open(s.log())
	if err != nil {
		return
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return
	}
	lines := strings.SplitAfter(string(data), "\n")
	say("The end of sfd's log.")
	fmt.Print(strings.Join(lines[max(0, len(lines)-20):], ""))
}

// freePort is the API's own port where nobody has it, else any.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:13000")
	if err != nil {
		return "0"
	}
	l.Close()
	return "13000"
}

// freeBlock is a block for outside addresses that no device of the host is in:
// the default one unless another sfd or the host's own network has it.
func freeBlock() (string, error) {
	have, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for third := 20; third < 256; third++ {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 24)
		free := true
		for _, a := range have {
			p, err := netip.ParsePrefix(a.String())
			free = free && (err != nil || !p.Overlaps(block))
		}
		if free {
			return block.String(), nil
		}
	}
	return "", errors.New("this host is in every block from 192.168.20.0/24 on: none is left for outside addresses")
}
