package isofs

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, &stderr)
	}
	return string(out)
}

func write(t testing.TB, img []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.iso")
	if err := os.WriteFile(path, img, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// onDisk lists the regular files below dir.
func onDisk(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		found[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// writeTree writes files below a new directory.
func writeTree(t testing.TB, files []File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestXorrisoReads(t *testing.T) {
	xorriso := need.Program(t, "xorriso", "xorriso")
	files := sample()
	path := write(t, build(t, files))
	for _, mode := range []string{"any", "norock"} { // Rock Ridge, Joliet
		dir := filepath.Join(t.TempDir(), "out")
		run(t, xorriso, "-abort_on", "WARNING", "-read_fs", mode, "-indev", path, "-osirrox", "on", "-extract", "/", dir)
		t.Cleanup(func() { run(t, "chmod", "-R", "u+w", dir) }) // a plain user could not remove it
		if diff := cmp.Diff(contents(files), onDisk(t, dir)); diff != "" {
			t.Errorf("-read_fs %s (-want +got): %s", mode, diff)
		}
		info, err := os.Stat(filepath.Join(dir, "empty"))
		if err != nil {
			t.Fatal(err)
		}
		if mode == "any" && (!info.ModTime().Equal(when) || info.Mode() != 0o444) {
			t.Errorf("time %v, mode %v", info.ModTime(), info.Mode())
		}
	}
}

// isoinfo knows no UTF-8.
func TestIsoinfoReads(t *testing.T) {
	isoinfo := need.Program(t, "isoinfo", "genisoimage")
	files := slices.DeleteFunc(sample(), func(f File) bool {
		return strings.ContainsFunc(f.Path, func(r rune) bool { return r > '~' })
	})
	path := write(t, build(t, files))

	about := run(t, isoinfo, "-d", "-i", path)
	for _, want := range []string{"Volume id: config-2\n", "Joliet with UCS level 3 found", "Rock Ridge signatures version 1 found"} {
		if !strings.Contains(about, want) {
			t.Errorf("isoinfo -d lacks %q:\n%s", want, about)
		}
	}
	// Directories are listed too.
	names := map[string]bool{}
	for _, f := range files {
		for p := f.Path; p != "."; p = filepath.Dir(p) {
			names["/"+p] = true
		}
	}
	want := slices.Sorted(maps.Keys(names))
	for _, flag := range []string{"-R", "-J"} {
		got := strings.Split(strings.TrimSuffix(run(t, isoinfo, flag, "-f", "-i", path), "\n"), "\n")
		for i := range got {
			got[i] = strings.TrimSuffix(got[i], ";1")
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("isoinfo %s (-want +got): %s", flag, diff)
		}
	}
	for flag, name := range map[string]string{
		"-R": "/openstack/latest/meta_data.json",
		"-J": "/openstack/latest/meta_data.json;1",
	} {
		if got := run(t, isoinfo, flag, "-i", path, "-x", name); got != contents(files)["openstack/latest/meta_data.json"] {
			t.Errorf("isoinfo %s -x %s: other contents (%d bytes)", flag, name, len(got))
		}
	}
}

func TestBlkid(t *testing.T) {
	blkid := need.Program(t, "blkid", "util-linux")
	out := run(t, blkid, "-p", "-o", "export", write(t, build(t, sample())))
	for _, want := range []string{"\nLABEL=config-2\n", "\nTYPE=iso9660\n", "\nUUID=2026-11-23-10-28-59-00\n"} {
		if !strings.Contains("\n"+out, want) {
			t.Errorf("blkid lacks %q:\n%s", strings.TrimSpace(want), out)
		}
	}
}

// Drives that others wrote read the same.
func TestReadOthers(t *testing.T) {
	genisoimage := need.Program(t, "genisoimage", "genisoimage")
	xorriso := need.Program(t, "xorriso", "xorriso")
	files := sample()
	lower := []File{{"dir/plain.txt", []byte("p")}, {"dir/deeper/noext", []byte("n")}, {"top", nil}}
	for _, test := range []struct {
		name  string
		files []File
		cmd   []string
	}{
		{"genisoimage -R -J", files, []string{genisoimage, "-quiet", "-input-charset", "utf-8", "-R", "-J"}},
		{"genisoimage -J", files, []string{genisoimage, "-quiet", "-input-charset", "utf-8", "-J"}},
		{"genisoimage", lower, []string{genisoimage, "-quiet", "-input-charset", "utf-8"}},
		{"xorriso -R -J", files, []string{xorriso, "-as", "mkisofs", "-quiet", "-R", "-J"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "other.iso")
			run(t, test.cmd[0], append(test.cmd[1:], "-V", "config-2", "-o", out, writeTree(t, test.files))...)
			img, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(contents(test.files), readBack(t, img)); diff != "" {
				t.Error("(-want +got):", diff)
			}
		})
	}
}
