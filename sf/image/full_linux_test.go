package image

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// foreign is a disk as a VMDK whose data is compressed.
func foreign(t *testing.T, disk []byte) []byte {
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "vmdk")
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(need.Program(t, "qemu-img", "qemu-utils"), "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, out)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s", b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The converter, which reads a stranger's bytes, is nobody, and what it leaves behind is
// taken from it.
func TestConverterIsNobody(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "qemu-img")
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) { // nobody is to reach the program, and nothing else
		if err := os.Chmod(at, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\nid -u >&2; id -G >&2; cat /etc/shadow " + dir + "/hidden 2>/dev/null >&2; ls /proc/self/fd | wc -w >&2; [ \"$QUIET\" ] || exit 1\n"
	config := testConfig()
	config.QemuImg = program
	c := newTestCache(t, config)
	from := filepath.Join(c.dir, "from")
	for path, content := range map[string]string{program: script, from: "an image", filepath.Join(dir, "hidden"): "secret"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Join(c.dir, tmpDir), "image-")
	if err != nil {
		t.Fatal(err)
	}
	err = c.convert(t.Context(), "vmdk", from, filepath.Join(work, "out"), 1<<20)
	if err == nil || !strings.Contains(err.Error(), "65534\n65534\n") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "root:") {
		t.Errorf("the converter is and sees: %v", err)
	}
	for what, script := range map[string]string{
		"a link":   "ln -s /etc/shadow $7",
		"a writer": "echo > $7; (exec 9>>$7; exec sleep 5 >/dev/null 2>&1) &",
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := c.convert(t.Context(), "vmdk", from, filepath.Join(work, "out"), 1<<20); err == nil {
			t.Errorf("%s is taken for an image", what)
		}
		st, err := os.Stat(work)
		if err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("the directory is %+v, %v", st, err)
		}
		os.Remove(filepath.Join(work, "out"))
	}
}

// A disk that is really full: the errors say so with figures, nothing half made
// is left, and evicting an unused image makes room.
func TestFullDisk(t *testing.T) {
	need.Root(t)
	data := t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, 0); err != nil {
			t.Error(err)
		}
	})
	config := testConfig()
	config.MinAge = 1
	c, err := NewCache(filepath.Join(data, "image_cache"), config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLocal(filepath.Join(data, "instances"), LocalConfig{Cache: c})
	if err != nil {
		t.Fatal(err)
	}
	web := newWeb(t)
	full := func(what string, err error, text string) {
		t.Helper()
		if !errors.Is(err, driver.ErrNoSpace) || errors.Is(err, ErrPermanent) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	web.put("/big", rawImage(16<<20))
	_, err = l.Fetch(t.Context(), trusted(web.URL+"/big"), nil)
	full("announced", err, "16.0 MiB more are needed")
	big := rawImage(16 << 20)
	web.put("/chunked", nil).serve = chunks(big)
	_, err = l.Fetch(t.Context(), trusted(web.URL+"/chunked"), nil)
	full("unannounced", err, "free")
	random := rawImage(16 << 20)
	web.put("/packed", pipe(t, bytes.Repeat(random[:1<<20], 16), "xz", "xz-utils", "-c"))
	_, err = l.Fetch(t.Context(), trusted(web.URL+"/packed"), nil)
	full("unpacking", err, "free")
	web.put("/foreign", foreign(t, bytes.Repeat([]byte("all work and no play "), 16<<20/21+1)[:16<<20]))
	_, err = l.Fetch(t.Context(), trusted(web.URL+"/foreign"), nil)
	full("converting", err, "converted it needs more than")
	if all, _ := c.List(); len(all) > 0 {
		t.Errorf("visible: %v", all)
	}
	if l := leftovers(t, c); len(l) > 0 {
		t.Errorf("left behind: %v", l)
	}
	// Room for one of two.
	one, two := rawImage(5<<20), rawImage(5<<20+512)
	web.put("/one", one)
	web.put("/two", two)
	for path, body := range map[string][]byte{"/one": one, "/two": two} {
		image, err := l.Fetch(t.Context(), trusted(web.URL+path), nil)
		if err != nil || image.ID != sum256(body) {
			t.Errorf("%s: %v", path, err)
		}
	}
	all, err := c.List()
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	// With the rest filled, a volume cannot be made.
	os.WriteFile(filepath.Join(data, "filler"), make([]byte, 16<<20), 0o600)
	_, err = l.Build(t.Context(), uuid1, []driver.Volume{{Device: "vda", Content: make([]byte, 4096)}})
	full("Build", err, "free")
	os.Remove(filepath.Join(data, "filler"))
	if left, _ := filepath.Glob(l.Dir(uuid1) + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err = l.Build(t.Context(), uuid1, []driver.Volume{{Device: "vda", Size: 1 << 30, Image: all[0].ID}}); err != nil {
		t.Error(err)
	}
}
