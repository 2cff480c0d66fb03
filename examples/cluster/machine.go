//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/driver/libvirt/libvirtd"
	"github.com/shakenfist/cloud/examples/internal/launch"
)

// machine is what runs in a node's namespace.
type machine struct {
	node
	plan   *plan
	reaper *reaper

	mu              sync.Mutex // one start at a time
	etcd, sfd, virt running
	libvirt         *libvirtd.Host
}

// running is when a process ends; nil before it was started.
type running chan struct{}

func (r running) alive() bool {
	select {
	case <-r:
		return false
	default:
		return r != nil
	}
}

// start starts whatever of the machine does not run, and waits until its sfd is
// ready.
func (m *machine) start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	steps := []func(context.Context) error{m.startSFD}
	if m.plan.Hypervisor == "libvirt" {
		steps = []func(context.Context) error{m.startLibvirt, m.startSFD}
	}
	if m.plan.hasEtcd(m.node) && !m.etcd.alive() {
		var err error
		if m.etcd, err = m.run("etcd", "etcd", m.plan.etcdArgs(m.node)); err != nil {
			return err
		}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

func (m *machine) startSFD(ctx context.Context) (err error) {
	for m.sfd.alive() { // or dying, or not yet ready
		if m.answers(ctx) {
			return nil
		}
		select {
		case <-m.sfd:
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("sfd runs and does not answer: %w", ctx.Err())
		}
	}
	ready, err := launch.Listen(m.path("notify"))
	if err != nil {
		return err
	}
	defer ready.Close()
	if m.sfd, err = m.run("sfd", filepath.Join(m.plan.Bin, "sfd"), m.plan.sfdArgs(m.node), ready.Env()); err != nil {
		return err
	}
	if err := ready.Await(ctx, m.sfd); err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, tail(m.path("sfd.log")))
	}
	return nil
}

// answers reports whether the node's API does.
func (m *machine) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = inside(m.Name, func() (err error) {
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	r, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://127.0.0.1:%d/", m.Port), nil)
	if err != nil {
		return false
	}
	w, err := (&http.Transport{DialContext: dial, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return false
	}
	w.Body.Close()
	return true
}

// startLibvirt starts the node's libvirtd, or again where only that was killed.
func (m *machine) startLibvirt(ctx context.Context) error {
	if m.virt.alive() {
		if conn, err := net.Dial("unix", m.libvirt.Socket); err == nil {
			return conn.Close()
		}
		return m.libvirt.Launch(ctx)
	}
	dir := m.path("libvirt")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	log, err := m.log("libvirt")
	if err != nil {
		return err
	}
	defer log.Close()
	start := func(cmd *exec.Cmd) error {
		return inside(m.Name, func() (err error) {
			m.virt, err = m.reaper.start(cmd)
			return err
		})
	}
	m.libvirt, err = libvirtd.Start(ctx, libvirtd.Config{Dir: dir, Start: start, Stderr: log})
	if err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, tail(filepath.Join(dir, "libvirtd.log")))
	}
	return nil
}

// run starts a program in the node's namespace, with a log and a file that has its
// process ID.
func (m *machine) run(name, program string, args []string, env ...string) (running, error) {
	log, err := m.log(name)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	var ended running
	err = inside(m.Name, func() (err error) {
		ended, err = m.reaper.start(cmd)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", m.Name, name, err)
	}
	return ended, os.WriteFile(m.path(name+".pid"), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644)
}

func (m *machine) log(name string) (*os.File, error) {
	return os.OpenFile(m.path(name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "")
}
