package libvirtd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// directories that libvirt works with, by what each is below a host's own.
var directories = map[string]string{
	"run": "/run/libvirt", "lib": "/var/lib/libvirt", "log": "/var/log/libvirt", "etc": "/etc/libvirt", "cache": "/var/cache/libvirt",
}

// Missing says what this machine lacks to run a libvirtd; nil means nothing.
func Missing() error {
	_, err := find()
	return err
}

// find returns the paths of virtlogd and libvirtd.
func find() (paths []string, err error) {
	for _, name := range []string{"virtlogd", "libvirtd"} {
		path, err := exec.LookPath(name)
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/" + name)
		}
		if err != nil {
			return nil, fmt.Errorf("no %s: install the Debian package libvirt-daemon", name)
		}
		paths = append(paths, path)
	}
	for _, lib := range []string{"/usr/lib*/*", "/usr/lib*"} {
		if found, _ := filepath.Glob(lib + "/libvirt/connection-driver/libvirt_driver_qemu.so"); len(found) > 0 {
			return paths, nil
		}
	}
	return nil, errors.New("libvirt has no driver for QEMU: install the Debian package libvirt-daemon-driver-qemu")
}

// MountPoints are those of libvirt's directories that this machine does not have.
// A host makes them, as mount points for its own, and cannot take them away again
// itself, since several hosts share them.
func MountPoints() (missing []string) {
	for _, path := range directories {
		if _, err := os.Lstat(path); err != nil {
			missing = append(missing, path)
		}
	}
	return missing
}

// RemoveMountPoints removes what MountPoints returned before any host was started,
// now that the last has ended. What somebody uses by now stays.
func RemoveMountPoints(paths []string) error {
	tables, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, table := range tables {
		text, _ := os.ReadFile(table) // of a process that ended meanwhile
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 4 {
				used[fields[4]] = true
			}
		}
	}
	var errs []error
	for _, path := range paths {
		if inside, err := os.ReadDir(path); used[path] || err != nil || len(inside) > 0 {
			continue // or it is gone
		}
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}
