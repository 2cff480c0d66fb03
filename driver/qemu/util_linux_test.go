package qemu_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

// lab is a registry with one driver at a time over it.
type lab struct {
	*testing.T
	dir string
	cfg qemu.Config
	h   *qemu.Hypervisor
	ctx context.Context
}

func newLab(t *testing.T, change func(*qemu.Config)) *lab {
	t.Helper()
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	l := &lab{T: t, dir: t.TempDir()}
	l.cfg = config(l.dir)
	if change != nil {
		change(&l.cfg)
	}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithTimeout(context.Background(), 5*time.Minute)
	l.open()
	t.Cleanup(func() {
		cancel()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // also for a test that used its own up
		defer cancel()
		list, _ := l.h.List(ctx)
		for _, m := range list {
			if err := l.h.Destroy(ctx, m.ID); err != nil {
				t.Error(err)
			}
		}
		if err := l.h.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lab) open() {
	l.Helper()
	h, err := qemu.New(l.ctx, l.cfg)
	l.must(err)
	l.h = h
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) run(s driver.Spec) driver.Status {
	l.Helper()
	l.must(l.h.Create(l.ctx, s))
	l.must(l.h.Start(l.ctx, s.ID))
	return l.is(s.ID, driver.Running)
}

func (l *lab) is(id string, want driver.State) driver.Status {
	l.Helper()
	s, err := l.h.Inspect(l.ctx, id)
	l.must(err)
	if s.State != want {
		l.Fatalf("machine is %s (%s), want %s", s.State, s.Reason, want)
	}
	return s
}

func (l *lab) becomes(id string, want driver.State) driver.Status {
	l.Helper()
	events, err := l.h.Events(l.ctx)
	l.must(err)
	defer events.Close()
	for {
		s, err := l.h.Inspect(l.ctx, id)
		l.must(err)
		if s.State == want {
			return s
		}
		if _, err := events.Next(l.ctx); err != nil {
			l.Fatalf("waited in vain for %s; machine is %+v", want, s)
		}
	}
}

// eventually waits for what no event tells.
func (l *lab) eventually(what string, ok func() bool) {
	l.Helper()
	pc.Eventually(l.ctx, l, what, ok)
}

// editState changes state.json of a machine whose driver is closed.
func (l *lab) editState(id string, edit func(state, process map[string]any)) {
	l.Helper()
	path := filepath.Join(l.cfg.Dir, "machines", id, "state.json")
	b, err := os.ReadFile(path)
	l.must(err)
	var state map[string]any
	l.must(json.Unmarshal(b, &state))
	process, _ := state["process"].(map[string]any)
	edit(state, process)
	b, err = json.Marshal(state)
	l.must(err)
	l.must(os.WriteFile(path, b, 0o600))
}

// bootable is a machine that runs code from its boot sector.
func (l *lab) bootable(n int, dir string, size int64, code []byte) driver.Spec {
	l.Helper()
	s := pc.Spec(l.dir, n)
	s.Disks[0].Path = filepath.Join(dir, fmt.Sprintf("boot%d", n))
	f, err := os.Create(s.Disks[0].Path)
	l.must(err)
	defer f.Close()
	sector := make([]byte, 512)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	_, err = f.Write(sector)
	l.must(err)
	l.must(f.Truncate(size))
	return s
}

// writeDisk is a boot sector that writes to its disk for ever, 127 sectors at a
// time, from the second on; errors beyond the disk's end do not stop it.
var writeDisk = append(append([]byte{
	0x31, 0xc0, // xor ax, ax
	0x8e, 0xd8, // mov ds, ax
	0xbe, 0x20, 0x7c, // mov si, packet
	0xb8, 0x00, 0x43, // again: mov ax, 4300h (write)
	0xb2, 0x80, // mov dl, 80h (first disk)
	0xcd, 0x13, // int 13h
	0x66, 0x81, 0x44, 0x08, 0x7f, 0, 0, 0, // add dword [si+8], 127
	0xeb, 0xef, // jmp again
}, make([]byte, 0x20-24)...), // packet is at 7c20h
	0x10, 0, 0x7f, 0, 0, 0, 0, 0x10, 1, 0, 0, 0, 0, 0, 0, 0)

// printLines is a boot sector that prints "0123456789:;<=>?" for ever on the
// serial port, as fast as that goes.
var printLines = []byte{
	0xba, 0xf8, 0x03, // mov dx, 3f8h
	0xb0, 0x30, // start: mov al, '0'
	0xee,       // next: out dx, al
	0xfe, 0xc0, // inc al
	0x3c, 0x40, // cmp al, '@'
	0x75, 0xf9, // jne next
	0xeb, 0xf5, // jmp start
}

// tmpfs mounts a file system of some bytes for a test and returns where.
func tmpfs(t *testing.T, size int64) string {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill takes all the room there is on a file system, until the function it
// returns is called.
func (l *lab) fill(dir string) func() {
	l.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	l.must(err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	return func() { os.Remove(f.Name()) }
}
