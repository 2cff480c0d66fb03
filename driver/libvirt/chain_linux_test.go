package libvirt

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// header is the start of an image with one below it.
func header(backing, format string) []byte {
	const magic, version, headerBytes, formatExt = 0x514649fb, 3, 104, 0xe2792aca
	b := make([]byte, 512)
	be := binary.BigEndian
	be.PutUint32(b, magic)
	be.PutUint32(b[4:], version)
	be.PutUint64(b[8:], 256)
	be.PutUint32(b[16:], uint32(len(backing)))
	be.PutUint32(b[100:], headerBytes)
	be.PutUint32(b[104:], formatExt)
	be.PutUint32(b[108:], uint32(len(format)))
	copy(b[112:], format)
	copy(b[256:], backing)
	return b
}

func TestFindChain(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("base", make([]byte, 512), 0o644)
	write("middle", header("base", "raw"), 0o600)
	write("top", header(filepath.Join(dir, "middle"), "qcow2"), 0o600)
	write("loop", header("loop", "qcow2"), 0o600)
	chain, err := findChain(filepath.Join(dir, "top"), "qcow2", nil)
	if err != nil || len(chain) != 2 || chain[0] != (layer{Path: filepath.Join(dir, "middle"), Format: "qcow2"}) ||
		chain[1] != (layer{Path: filepath.Join(dir, "base"), Format: "raw", Common: true}) {
		t.Errorf("got %+v, %v", chain, err)
	}
	// What says that it is raw is not asked what lies under it.
	if chain, err := findChain(filepath.Join(dir, "top"), "raw", nil); err != nil || chain == nil || len(chain) != 0 {
		t.Errorf("raw: got %+v, %v", chain, err)
	}
	for _, name := range []string{"loop", "none", "."} {
		if _, err := findChain(filepath.Join(dir, name), "qcow2", nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Who broke out of a QEMU can write the header of its disk, and is not to be given
// files of the host by that with the next start.
func TestChainStaysInside(t *testing.T) {
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	secret, base, disk := filepath.Join(dir, "secret"), filepath.Join(images, "base"), filepath.Join(dir, "disk")
	if err := os.Mkdir(images, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{secret, base} {
		if err := os.WriteFile(path, make([]byte, 512), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for below, ok := range map[string]bool{base: true, "images/base": true, secret: false, "images/../secret": false} {
		if err := os.WriteFile(disk, header(below, "raw"), 0o600); err != nil {
			t.Fatal(err)
		}
		if chain, err := findChain(disk, "qcow2", []string{images}); (err == nil) != ok {
			t.Errorf("%s below: %v, %v", below, chain, err)
		}
	}
}
