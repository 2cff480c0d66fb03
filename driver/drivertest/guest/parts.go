package guest

import (
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
	GRUB    string // the directory of grub-pc-bin's modules; only for Image
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
		p.Busybox = firstFile(p.Busybox, filepath.Join(root, "bin/busybox"), filepath.Join(root, "usr/bin/busybox"))
		p.GRUB = firstFile(p.GRUB, filepath.Join(root, "usr/lib/grub/i386-pc"))
	}
	for _, part := range []struct{ path, name, pkg string }{
		{p.Kernel, "kernel (boot/vmlinuz-*-cloud-amd64 with its lib/modules)", "linux-image-cloud-amd64"},
		{p.Busybox, "static busybox", "busybox-static"},
		{p.GRUB, "boot loader (usr/lib/grub/i386-pc)", "grub-pc-bin"},
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

// firstFile returns have, or else the first of the paths that exists.
func firstFile(have string, paths ...string) string {
	for _, path := range paths {
		if have != "" {
			break
		}
		if _, err := os.Stat(path); err == nil {
			have = path
		}
	}
	return have
}
