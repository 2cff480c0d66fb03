// Package tap makes, opens and counts taps, by name and in whatever network
// namespace they are: one by the path of its file, or our own for an empty path.
package tap

import (
	"fmt"
	"os"

	"github.com/shakenfist/cloud/driver/internal/netns"
	"golang.org/x/sys/unix"
)

// Exists is nil if there is an interface of that name.
func Exists(ns, name string) error {
	return netns.Do(ns, func() error { return exists(name) })
}

func exists(name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, req); err != nil {
		return fmt.Errorf("no such interface: %w", err)
	}
	return nil
}

// Make makes a tap that stays when its maker closes it. One that is there and that
// nobody has open is nil.
func Make(ns, name string) error {
	return netns.Do(ns, func() error {
		fd, err := attach(name, unix.IFF_VNET_HDR, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	})
}

// Open opens a tap that is there; the file works from anywhere. With offload its
// frames have a header in front, by which checksums and segmentation are passed on.
func Open(ns, name string, offload bool) (f *os.File, err error) {
	err = netns.Do(ns, func() error {
		if err := exists(name); err != nil { // it would be made
			return err
		}
		var flags uint16
		if offload {
			flags = unix.IFF_VNET_HDR
		}
		fd, err := attach(name, flags, unix.O_NONBLOCK)
		if err == nil {
			f = os.NewFile(uintptr(fd), name)
		}
		return err
	})
	return f, err
}

func attach(name string, flags uint16, mode int) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|mode, 0)
	if err != nil {
		return 0, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("cannot attach (is it a tap, of our user, and free?): %w", err)
	}
	return fd, nil
}
