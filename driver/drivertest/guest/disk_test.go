package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// boot.bin is what boot.S says.
func TestBootSector(t *testing.T) {
	as, ld := need.Program(t, "as", "binutils"), need.Program(t, "ld", "binutils")
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "boot.o"), filepath.Join(dir, "boot.bin")
	for _, args := range [][]string{
		{as, "--32", "-o", object, filepath.Join("boot", "boot.S")},
		{ld, "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", binary, object},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	got, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bootSector) {
		t.Errorf("boot/boot.bin is not boot/boot.S assembled: make these %d bytes anew, boot.S says how", len(got))
	}
}

// fakeKernel is a bzImage for buildDisk's eyes: two setup sectors, body, header.
func fakeKernel(body int) []byte {
	k := make([]byte, 3*sectorSize+body)
	k[0x1f1] = 2
	copy(k[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(k[0x206:], 0x20f)
	binary.LittleEndian.PutUint64(k[0x258:], 0x1000000)
	binary.LittleEndian.PutUint32(k[0x260:], 0x2345678)
	for i := 3 * sectorSize; i < len(k); i++ {
		k[i] = 'k'
	}
	return k
}

// Follow the boot sector's table over the disk and see what ends up in memory.
func TestDiskLayout(t *testing.T) {
	for _, size := range []int{1, chunkSize - 1, chunkSize, 3*chunkSize + 5} {
		kernel, initramfs := fakeKernel(size), bytes.Repeat([]byte("i"), size+7)
		disk, err := buildDisk(kernel, initramfs, "console=ttyS0")
		if err != nil {
			t.Fatal(err)
		}
		if len(disk)%(1<<20) != 0 || disk[510] != 0x55 || disk[511] != 0xaa {
			t.Errorf("%d bytes, signature % x", len(disk), disk[510:512])
		}
		memory := load(disk)
		setup := memory[setupAddress]
		if got, _, _ := bytes.Cut(setup[commandLine:], []byte{0}); string(got) != "console=ttyS0" {
			t.Errorf("command line %q", got)
		}
		if !bytes.Equal(memory[kernelAddress][:size], kernel[3*sectorSize:]) {
			t.Errorf("size %d: the kernel is not what is loaded", size)
		}
		// 0x1000000+0x2345678, rounded up to a MiB
		if !bytes.Equal(memory[0x3400000][:size+7], initramfs) {
			t.Errorf("size %d: the initramfs is not what is loaded", size)
		}
		if at, n := binary.LittleEndian.Uint32(setup[0x218:]), binary.LittleEndian.Uint32(setup[0x21c:]); at != 0x3400000 || n != uint32(size+7) {
			t.Errorf("the kernel's header says %d bytes at %#x", n, at)
		}
	}
}

// load does what boot.S does, in Go.
func load(disk []byte) map[int][]byte {
	u32 := func(at int) int { return int(binary.LittleEndian.Uint32(disk[at:])) }
	memory := map[int][]byte{}
	pos := sectorSize
	take := func(n int) []byte { pos += n; return disk[pos-n : pos] }
	memory[setupAddress] = take(int(binary.LittleEndian.Uint16(disk[offSetup:])) * sectorSize)
	for at := offPieces; u32(at) != 0; at += 8 {
		memory[u32(at)] = take(u32(at+4) * chunkSize)
	}
	return memory
}

func TestDiskRefuses(t *testing.T) {
	old := fakeKernel(1)
	old[0x206], old[0x207] = 0, 2
	for _, test := range []struct {
		name    string
		kernel  []byte
		cmdline string
	}{
		{"no bzImage", make([]byte, 4096), ""},
		{"short", []byte("x"), ""},
		{"old protocol", old, ""},
		{"long command line", fakeKernel(1), strings.Repeat("x", commandLineMax)},
	} {
		if _, err := buildDisk(test.kernel, nil, test.cmdline); err == nil {
			t.Errorf("%s: no error", test.name)
		}
	}
}

// qemu-img finds nothing wrong with what we call qcow2, and the same disk in it.
func TestQcow2(t *testing.T) {
	qemuImg := need.Program(t, "qemu-img", "qemu-utils")
	for name, disk := range map[string][]byte{
		"odd size": bytes.Repeat([]byte("0123456789abcdef"), 5001*512/16),
		"holes":    append(make([]byte, 3*clusterSize), bytes.Repeat([]byte{1}, 512)...),
		"empty":    make([]byte, 2*clusterSize),
	} {
		encoded, err := encodeQcow2(disk)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		raw, qcow2 := filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
		for path, data := range map[string][]byte{raw: disk, qcow2: encoded} {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{
			{"check", "-f", "qcow2", qcow2},
			{"compare", "-f", "raw", "-F", "qcow2", raw, qcow2},
		} {
			if out, err := exec.Command(qemuImg, args...).CombinedOutput(); err != nil {
				t.Errorf("%s: qemu-img %v: %v\n%s", name, args, err, out)
			}
		}
	}
}

func TestQcow2RefusesWhatDoesNotFit(t *testing.T) {
	if _, err := encodeQcow2(make([]byte, qcow2Max+1)); err == nil {
		t.Error("no error")
	}
}

func TestBuildIsReproducible(t *testing.T) {
	parts(t)
	dir := t.TempDir()
	var files [2][]byte
	for i := range files {
		out := filepath.Join(dir, "g.qcow2")
		if err := Build(context.Background(), Options{Out: out}); err != nil {
			t.Fatal(err)
		}
		files[i], _ = os.ReadFile(out)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("built twice, the image differs")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if err := Build(context.Background(), Options{Out: filepath.Join(dir, "x"), Format: "vmdk"}); err == nil {
		t.Error("format vmdk: no error")
	}
}
