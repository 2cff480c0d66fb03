package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Image returns the path of the guest's disk image (qcow2), built when it is not
// there yet. It is shared by all tests: read it, put overlays on it, never
// write to it. A machine without the parts skips the test, or fails it where
// package need says so.
func Image(t need.TB) string {
	t.Helper()
	dir, key := cache(t)
	path := filepath.Join(dir, "guest-"+key+".qcow2")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := Build(context.Background(), Options{Out: path}); err != nil {
		t.Fatalf("%v", err)
	}
	return path
}

// Kernel returns the paths of the guest's kernel and initramfs, for tests that
// start QEMU with -kernel, -initrd and -append CommandLine. They are shared like
// Image's.
func Kernel(t need.TB) (kernel, initrd string) {
	t.Helper()
	dir, key := cache(t)
	kernel, initrd = filepath.Join(dir, "guest-"+key+".vmlinuz"), filepath.Join(dir, "guest-"+key+".initrd")
	if _, err := os.Stat(initrd); err == nil { // written last
		return kernel, initrd
	}
	if err := KernelInitrd(kernel, initrd); err != nil {
		t.Fatalf("%v", err)
	}
	return kernel, initrd
}

// cache returns the directory for built guests and a name for what would be
// built now.
func cache(t need.TB) (dir, key string) {
	t.Helper()
	p, err := FindParts(DefaultRoots()...)
	if err != nil {
		need.Missing(t, "%v", err)
	}
	if key, err = fingerprint(p); err != nil {
		t.Fatalf("%v", err)
	}
	if root := moduleRoot(); root != "" {
		dir = filepath.Join(root, "build")
	} else {
		dir = filepath.Join(os.TempDir(), "sf-test-guest")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatalf("guest: %v", err)
	}
	return dir, key
}

// fingerprint names a guest by all that goes into it: the parts by name, size
// and time, and this package's own by content.
func fingerprint(p Parts) (string, error) {
	hash := sha256.New()
	for _, path := range []string{p.Kernel, p.Busybox} {
		info, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("guest: %w", err)
		}
		fmt.Fprintln(hash, p.Release, info.Size(), info.ModTime().UnixNano())
	}
	fmt.Fprintln(hash, layoutVersion, CommandLine, wantModules)
	hash.Write(bootSector)
	err := fs.WalkDir(rootfs, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := rootfs.ReadFile(path)
		fmt.Fprintln(hash, path, len(data))
		hash.Write(data)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)[:6]), err
}

// layoutVersion counts changes to what the code of this package writes, so that
// an image cached by older code isn't taken for this one's.
const layoutVersion = 1
