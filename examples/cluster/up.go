//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/driver/libvirt/libvirtd"
	"github.com/shakenfist/cloud/examples/internal/census"
)

// up brings a cluster up, or leaves nothing.
func up(ctx context.Context, o options) error {
	if err := vacant(o.dir); err != nil {
		return err
	}
	var doors doors
	defer doors.close()
	p, err := newPlan(o, doors.open)
	if err != nil {
		return err
	}
	if err := errors.Join(p.programs(), p.free()); err != nil {
		return err
	}
	p.MountPoints = libvirtd.MountPoints()
	_, err = os.Stat(namesDir)
	p.NamesDir = errors.Is(err, os.ErrNotExist)
	lock, err := p.claim()
	if err != nil {
		return err
	}
	defer lock.Close()
	start := time.Now()
	if err := p.bring(ctx, append([]*os.File{lock}, doors...)); err != nil {
		fmt.Println("Something went wrong; what was made is taken down again.")
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return errors.Join(fmt.Errorf("no cluster: %w", err), down(ending, p.Dir))
	}
	fmt.Printf("\nThe cluster is up, after %.0f s.\n\n%s", time.Since(start).Seconds(), p.usage())
	return nil
}

// vacant makes sure that a directory is nobody's cluster.
func vacant(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	p, err := loadPlan(dir)
	switch {
	case err != nil && !unplanned(dir):
		return fmt.Errorf("%s is there already, and is no cluster: choose another -dir", dir)
	case err != nil:
		p = &plan{Dir: dir}
	case locked(dir):
		return fmt.Errorf("a cluster is up already, or about to be: %d nodes on %s, in %s; %s says how to use it, and %s ends it",
			len(p.Nodes), p.Hypervisor, dir, p.path(usageName), p.ending())
	}
	return fmt.Errorf("what is left of a cluster is in %s: %s removes it", dir, p.ending())
}

// lockName is a file that is locked while somebody brings a cluster up or looks
// after it.
const lockName = "lock"

func locked(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// claim makes the cluster's directory, with all that is needed to end it.
func (p *plan) claim() (lock *os.File, err error) {
	before, err := census.Host()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.Dir, 0o711); err != nil { // QEMU's user has to pass
		return nil, err
	}
	if lock, err = os.Create(p.path(lockName)); err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB), p.save(), before.Save(p.Dir)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// bring makes everything and starts everything. The files are for the process that
// stays.
func (p *plan) bring(ctx context.Context, files []*os.File) error {
	for _, n := range p.Nodes {
		if err := os.Mkdir(n.Dir, 0o711); err != nil {
			return err
		}
	}
	if err := p.wire(ctx); err != nil {
		return err
	}
	fmt.Printf("The underlay, 203.0.113.0/24, joins the namespaces %v; beyond the gateway is %s.\n", p.namespaces(), beyond)
	if err := guest.Build(ctx, guest.Options{Out: p.path("guest.qcow2")}); err != nil {
		return err
	}
	fmt.Printf("A small guest's image is at %s.\n", imageURL)
	if err := p.superviseWith(ctx, files); err != nil {
		return err
	}
	if err := p.startAll(ctx); err != nil {
		return err
	}
	return p.writeUsage()
}

// superviseWith starts the process that stays, and waits until it listens.
func (p *plan) superviseWith(ctx context.Context, files []*os.File) error {
	log, err := os.Create(p.path("supervisor.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"sf-cluster", "-dir", p.Dir, superviseVerb}
	cmd.ExtraFiles = files // from lockFD on
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		conn, err := net.Dial("unix", p.path(controlName))
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the supervising process ended (%w): %s", err, tail(p.path("supervisor.log")))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startAll starts all nodes at once: none is ready before most have an etcd.
func (p *plan) startAll(ctx context.Context) error {
	errs := make([]error, len(p.Nodes))
	var wg sync.WaitGroup
	for k, n := range p.Nodes {
		wg.Go(func() {
			if errs[k] = ask(ctx, p.Dir, n.Name); errs[k] == nil {
				fmt.Printf("%s is up: %s, its API is relayed from 127.0.0.1:%d.\n", n.Name, n.Address, n.Port)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// programs makes sure that what is started is there.
func (p *plan) programs() error {
	var errs []error
	for program, pkg := range map[string]string{"ip": "iproute2", "etcd": "etcd-server", "qemu-system-x86_64": "qemu-system-x86"} {
		if _, err := exec.LookPath(program); err != nil {
			errs = append(errs, fmt.Errorf("no %s: install the Debian package %s", program, pkg))
		}
	}
	for _, program := range []string{"sfd", "sf-client"} {
		if _, err := os.Stat(filepath.Join(p.Bin, program)); err != nil {
			errs = append(errs, fmt.Errorf("no %s in %s: run `make build`", program, p.Bin))
		}
	}
	if p.Hypervisor == "libvirt" {
		errs = append(errs, libvirtd.Missing())
	}
	return errors.Join(errs...)
}

// doors are listeners on the host's loopback. They are open from the moment that
// their ports are chosen, so that no other cluster chooses the same.
type doors []*os.File

// open opens one at the preferred port, or any that nobody has.
func (d *doors) open(preferred int) (port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(preferred))
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return 0, err
		}
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return 0, err
	}
	*d = append(*d, file)
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (d *doors) close() {
	for _, file := range *d {
		file.Close()
	}
}
