package guest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// parts finds what a guest is made of.
func parts(t *testing.T) Parts {
	t.Helper()
	p, err := FindParts(DefaultRoots()...)
	if err != nil || os.Getenv("SF_REQUIRE") == "0" {
		need.Missing(t, "%v", err)
	}
	return p
}

func TestFindPartsSaysWhatIsMissing(t *testing.T) {
	root := t.TempDir()
	_, err := FindParts(root)
	if err == nil || !strings.Contains(err.Error(), "linux-image-cloud-amd64") || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("an empty root: %v", err)
	}

	kernel := filepath.Join(root, "boot", "vmlinuz-6.1.0-9-cloud-amd64")
	modules := filepath.Join(root, "lib/modules/6.1.0-9-cloud-amd64/kernel")
	for _, dir := range []string{filepath.Dir(kernel), modules, filepath.Join(root, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{kernel, kernel + "x", filepath.Join(root, "bin/busybox")} {
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, err = FindParts(root)
	if err == nil || !strings.Contains(err.Error(), "busybox-static") {
		t.Errorf("a busybox that is no static program: %v", err)
	}
}

// Whatever modprobe is asked for, it finds what that needs in the archive, and
// loads it in an order in which each module has its own needs met.
func TestModuleIndexes(t *testing.T) {
	mods, err := readModules(parts(t).Modules, wantModules)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]module{}
	for _, m := range mods {
		for _, dep := range m.depends {
			if _, ok := byName[dep]; !ok {
				t.Errorf("%s comes before %s, which it needs", m.name, dep)
			}
		}
		byName[m.name] = m
	}
	for _, m := range mods {
		loaded := map[string]bool{}
		order := append([]string{m.name}, closure(byName, m.name)...)
		for i := len(order) - 1; i >= 0; i-- {
			for _, dep := range byName[order[i]].depends {
				if !loaded[dep] {
					t.Errorf("%s: loads %s before %s", m.name, order[i], dep)
				}
			}
			loaded[order[i]] = true
		}
	}
	if alias := string(modulesAlias(mods)); !strings.Contains(alias, "alias virtio:d00000001v* virtio_net\n") {
		t.Errorf("no alias for a virtio network device in:\n%s", alias)
	}
}

func TestMissingModuleIsNamed(t *testing.T) {
	_, err := readModules(parts(t).Modules, []string{"isofs", "no_such_driver"})
	if err == nil || !strings.Contains(err.Error(), "no_such_driver") {
		t.Errorf("got %v", err)
	}
}

// The archive is read back by a cpio that we did not write.
func TestInitramfsUnpacks(t *testing.T) {
	p := parts(t)
	archive, err := buildInitramfs(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := buildInitramfs(p)
	if err != nil || !bytes.Equal(archive, again) {
		t.Errorf("built twice, it differs (%v)", err)
	}
	cmd := exec.Command(p.Busybox, "cpio", "-t")
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cpio: %v", err)
	}
	listed := "\n" + string(out)
	for _, name := range []string{"init", "bin/busybox", "bin/sh", "etc/sfguest/dhcp", "dev/console"} {
		if !strings.Contains(listed, "\n"+name+"\n") {
			t.Errorf("%s is not in the archive:\n%s", name, listed)
		}
	}
	cmd = exec.Command(p.Busybox, "cpio", "-i", "--to-stdout", "etc/sfguest/functions")
	cmd.Stdin = bytes.NewReader(archive)
	got, err := cmd.Output()
	want, _ := rootfs.ReadFile("rootfs/etc/sfguest/functions")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("a file read back (%v): %s", err, cmp.Diff(string(want), string(got)))
	}
}

func TestCpioWriter(t *testing.T) {
	var w cpioWriter
	w.dir("a/b")
	w.dir("a/c") // a is there already
	w.file("a/b/f", 0o755, []byte("hello"))
	w.symlink("l", "a")
	got := w.bytes()
	if len(got)%4 != 0 {
		t.Errorf("%d bytes is no multiple of 4", len(got))
	}
	var names []string
	for i := 0; i+6 <= len(got); i++ {
		if string(got[i:i+6]) == "070701" {
			name, _, _ := bytes.Cut(got[i+110:], []byte{0})
			names = append(names, string(name))
		}
	}
	if diff := cmp.Diff([]string{"a", "a/b", "a/c", "a/b/f", "l", "TRAILER!!!"}, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
