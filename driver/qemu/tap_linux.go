package qemu

import (
	"fmt"
	"os"
	"runtime"

	"github.com/shakenfist/cloud/driver"
	"golang.org/x/sys/unix"
)

// openTap attaches to an existing tap where it is, in whatever network namespace.
// The descriptor works from anywhere.
func openTap(n driver.NIC) (*os.File, error) {
	var f *os.File
	err := inNamespace(n.NetNS, func() (err error) {
		f, err = attachTap(n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", n.Tap, err)
	}
	return f, nil
}

func attachTap(n driver.NIC) (*os.File, error) {
	req, err := unix.NewIfreq(n.Tap)
	if err != nil {
		return nil, err
	}
	// TUNSETIFF would make an interface that is not there.
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.IoctlIfreq(s, unix.SIOCGIFINDEX, req)
	unix.Close(s)
	if err != nil {
		return nil, fmt.Errorf("no such interface: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	flags := unix.IFF_TAP | unix.IFF_NO_PI
	if n.Model == "virtio" || n.Model == "e1000e" || n.Model == "vmxnet3" {
		flags |= unix.IFF_VNET_HDR // these pass checksums and segmentation on
	}
	req.SetUint16(uint16(flags))
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot attach (is it a tap, of our user, and free?): %w", err)
	}
	return os.NewFile(uintptr(fd), n.Tap), nil
}

// inNamespace runs f, which must not start goroutines, in a network namespace;
// an empty path is our own.
func inNamespace(path string, f func() error) error {
	if path == "" {
		return f()
	}
	errs := make(chan error, 1)
	go func() {
		// Should the way back fail, the thread stays locked and dies with us.
		runtime.LockOSThread()
		errs <- func() error {
			own, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
			if err != nil {
				return err
			}
			defer own.Close()
			other, err := os.Open(path)
			if err != nil {
				return err
			}
			defer other.Close()
			if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("network namespace %s: %w", path, err)
			}
			err = f()
			if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			return err
		}()
	}()
	return <-errs
}
