package libvirt_test

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNetNS runs f in a network namespace.
func inNetNS(t *testing.T, path string, f func() error) {
	t.Helper()
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends
		ns, err := os.Open(path)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err == nil {
			err = f()
		}
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

// makeTap makes a persistent tap in a namespace.
func makeTap(t *testing.T, ns, name string) {
	t.Helper()
	inNetNS(t, ns, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
		return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	})
}
