package guest

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Parts are the files of Debian that a guest is made of.
type Parts struct {
	Kernel  string // vmlinuz-<release>
	Release string // for instance 6.1.0-56-cloud-amd64
	Modules string // the directory lib/modules/<release>
	Busybox string // statically linked
}

// FindParts looks for the parts below the given roots, the first root that has
// one wins. A root is a directory laid out like a Debian system: "/" itself, or
// where packages were unpacked with dpkg-deb -x (`make deps` does that below
// build/guest-root, since a kernel that nobody wants to boot has no business in
// a host's /boot).
func FindParts(roots ...string) (Parts, error) {
	var p Parts
	for _, root := range roots {
		if p.Kernel == "" {
			p.findKernel(root)
		}
		for _, busybox := range []string{"bin/busybox", "usr/bin/busybox"} {
			if path := filepath.Join(root, busybox); p.Busybox == "" && isStatic(path) {
				p.Busybox = path
			}
		}
	}
	for _, part := range []struct{ path, name, pkg string }{
		{p.Kernel, "kernel (boot/vmlinuz-*-cloud-amd64 with its lib/modules)", "linux-image-cloud-amd64"},
		{p.Busybox, "static busybox", "busybox-static"},
	} {
		if part.path == "" {
			return Parts{}, fmt.Errorf("guest: no %s below %q: run `make deps` (Debian package %s)", part.name, roots, part.pkg)
		}
	}
	return p, nil
}

// findKernel takes the newest cloud kernel that has its modules. Names sort as
// their versions do as long as the numbers have equally many digits, and any
// Debian cloud kernel will do.
func (p *Parts) findKernel(root string) {
	kernels, _ := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*-cloud-amd64"))
	slices.Sort(kernels)
	for _, kernel := range slices.Backward(kernels) {
		release := filepath.Base(kernel)[len("vmlinuz-"):]
		for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
			modules := filepath.Join(root, lib, release)
			if _, err := os.Stat(filepath.Join(modules, "kernel")); err == nil {
				p.Kernel, p.Release, p.Modules = kernel, release, modules
				return
			}
		}
	}
}

// isStatic reports whether path is a program that runs without libraries.
func isStatic(path string) bool {
	file, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return !slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
