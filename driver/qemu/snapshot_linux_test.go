package qemu_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/qemu"
	"golang.org/x/sys/unix"
)

// countDisks is a boot sector that counts for ever, and writes each number to the
// second sector of the first disk and then of the second.
var countDisks = append(append([]byte{
	0x31, 0xc0, // xor ax, ax
	0x8e, 0xd8, // mov ds, ax
	0x66, 0xff, 0x06, 0x00, 0x7e, // again: inc dword [7e00h]
	0xbe, 0x30, 0x7c, // mov si, packet
	0xb8, 0x00, 0x43, // mov ax, 4300h (write)
	0xb2, 0x80, // mov dl, 80h
	0xcd, 0x13, // int 13h
	0xbe, 0x30, 0x7c,
	0xb8, 0x00, 0x43,
	0xb2, 0x81, // mov dl, 81h
	0xcd, 0x13,
	0xeb, 0xe5, // jmp again
}, make([]byte, 0x30-31)...), // packet is at 7c30h
	0x10, 0, 1, 0, 0, 0x7e, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)

// counting is a machine that counts on two disks of size bytes, which are full of
// data behind what is counted.
func (l *lab) counting(size int64) driver.Spec {
	l.Helper()
	s := l.bootable(1, l.dir, size, countDisks)
	second := s.Disks[0]
	second.Device, second.Path = "vdb", filepath.Join(l.dir, "second")
	l.must(os.WriteFile(second.Path, make([]byte, size), 0o600))
	s.Disks = append(s.Disks, second)
	for i, d := range s.Disks {
		f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
		l.must(err)
		for at := int64(4096); at < size; at += 65536 {
			_, err := f.WriteAt(fmt.Appendf(nil, "disk %d at %d", i, at), at)
			l.must(err)
		}
		l.must(f.Close())
	}
	return s
}

// count is what a disk says.
func (l *lab) count(path string) uint32 {
	l.Helper()
	f, err := os.Open(path)
	l.must(err)
	defer f.Close()
	b := make([]byte, 4)
	_, err = f.ReadAt(b, 512)
	l.must(err)
	return binary.LittleEndian.Uint32(b)
}

// counts waits until a machine has counted on.
func (l *lab) counts(s driver.Spec, n uint32) {
	l.Helper()
	from := l.count(s.Disks[1].Path)
	l.eventually("a count", func() bool { return l.count(s.Disks[1].Path) >= from+n })
}

func (l *lab) snapshot(s driver.Spec, job, dir string) []driver.SnapshotTarget {
	l.Helper()
	var targets []driver.SnapshotTarget
	for _, d := range s.Disks {
		targets = append(targets, driver.SnapshotTarget{Device: d.Device, Path: filepath.Join(dir, job+"-"+d.Device)})
	}
	l.must(l.h.Snapshot(l.ctx, s.ID, job, targets))
	return targets
}

func (l *lab) ended(id, job string) driver.JobStatus {
	l.Helper()
	var st driver.JobStatus
	l.eventually("the job to end", func() bool {
		var err error
		st, err = l.h.SnapshotJob(l.ctx, id, job)
		l.must(err)
		return st.Ended
	})
	return st
}

// All disks are copied as they were at one moment between two writes, while the
// machine writes on; and nothing is left in QEMU afterwards.
func TestSnapshotMoment(t *testing.T) {
	l := newLab(t, nil)
	s := l.counting(24 << 20)
	l.run(s)
	l.counts(s, 3)
	clean := l.belongings(s.ID)
	for round := range 3 {
		job := fmt.Sprintf("round %d", round)
		before := l.count(s.Disks[1].Path)
		targets := l.snapshot(s, job, l.dir)
		after := l.count(s.Disks[0].Path)
		l.counts(s, 3)
		if st := l.ended(s.ID, job); st.Err != nil || st.Done != 48<<20 || st.Total != 48<<20 {
			t.Fatalf("the job is %+v", st)
		}
		a, b := pc.Content(t, targets[0].Path, "qcow2"), pc.Content(t, targets[1].Path, "qcow2")
		first, second := binary.LittleEndian.Uint32(a[512:]), binary.LittleEndian.Uint32(b[512:])
		if first != second && first != second+1 {
			t.Errorf("one disk counts %d, the other %d", first, second)
		}
		if first < before || second > after {
			t.Errorf("copied at %d and %d, but begun between %d and %d", first, second, before, after)
		}
		l.counts(s, 3)
		for at := 4096; at < 24<<20; at += 65536 {
			if want := fmt.Sprintf("disk 1 at %d", at); !strings.HasPrefix(string(b[at:]), want) {
				t.Fatalf("no %q", want)
			}
		}
		l.must(l.h.EndSnapshot(l.ctx, s.ID, job))
		l.is(s.ID, driver.Running)
	}
	if left := l.belongings(s.ID); left != clean {
		t.Errorf("before: %s\nafter: %s", clean, left)
	}
}

// A target without room fails its job, and the other parts with it; the machine
// goes on, although it writes to what could not be copied.
func TestSnapshotNoSpace(t *testing.T) {
	l := newLab(t, func(c *qemu.Config) { c.Every *= 1000 }) // nothing helps but the end of the job
	s := l.counting(24 << 20)
	l.run(s)
	l.counts(s, 3)
	clean := l.belongings(s.ID)
	small := tmpfs(t, 2<<20)
	l.snapshot(s, "big", small)
	st := l.ended(s.ID, "big")
	if !errors.Is(st.Err, driver.ErrNoSpace) {
		t.Fatalf("the job is %+v", st)
	}
	l.becomes(s.ID, driver.Running)
	l.counts(s, 3)
	if again, err := l.h.SnapshotJob(l.ctx, s.ID, "big"); err != nil || !errors.Is(again.Err, driver.ErrNoSpace) {
		t.Errorf("asked again it is %+v, %v", again, err)
	}
	l.must(l.h.EndSnapshot(l.ctx, s.ID, "big"))
	if left := l.belongings(s.ID); left != clean {
		t.Errorf("before: %s\nafter: %s", clean, left)
	}
	// With not even the room for an empty image.
	defer l.fill(small)()
	err := l.h.Snapshot(l.ctx, s.ID, "none", []driver.SnapshotTarget{{Device: "vda", Path: filepath.Join(small, "none")}})
	if !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("no room at all: %v", err)
	}
	l.counts(s, 3)
}

// belongings are the block nodes, jobs and passed files of a machine's QEMU.
func (l *lab) belongings(id string) string {
	l.Helper()
	l.must(l.h.Close())
	defer l.open()
	var text string
	for _, command := range []string{"query-named-block-nodes", "query-jobs", "query-fdsets"} {
		var all []map[string]any
		l.query(id, command, &all)
		var names []string
		for _, o := range all {
			names = append(names, fmt.Sprint(o["node-name"], o["id"], o["fdset-id"]))
		}
		text += fmt.Sprintln(command, names)
	}
	return text
}

// A disk that is an overlay is copied with what lies under it, the machine that
// boots from the copy is the same, and the copies of one machine do not meet.
func TestSnapshotBoots(t *testing.T) {
	l := newLab(t, nil)
	s := pc.Guest(t, l.dir, 1)
	l.run(s)
	l.logs(s.ID, " login: ")
	targets := l.snapshot(s, "one", l.dir)
	other := l.snapshot(s, "two", l.dir)
	for _, job := range []string{"one", "two"} {
		if st := l.ended(s.ID, job); st.Err != nil {
			t.Fatalf("%s is %+v", job, st)
		}
	}
	var st unix.Stat_t
	l.must(unix.Stat(other[0].Path, &st))
	t.Logf("a copy takes %d KiB", st.Blocks/2)
	l.must(l.h.EndSnapshot(l.ctx, s.ID, "two"))
	if _, err := l.h.SnapshotJob(l.ctx, s.ID, "one"); err != nil {
		t.Errorf("the end of another job: %v", err)
	}
	l.must(l.h.Destroy(l.ctx, s.ID))
	pc.Content(t, targets[0].Path, "qcow2")

	copied := pc.Spec(l.dir, 2)
	copied.MemoryMiB = s.MemoryMiB
	copied.Disks[0] = s.Disks[0]
	copied.Disks[0].Path = targets[0].Path
	l.run(copied)
	l.logs(copied.ID, " login: ")
}

// logs waits for text on a machine's console.
func (l *lab) logs(id, text string) {
	l.Helper()
	p := make([]byte, 1<<20)
	l.eventually(text, func() bool {
		n, _, err := l.h.ConsoleLog(l.ctx, id, 0, p)
		l.must(err)
		return strings.Contains(string(p[:n]), text)
	})
}

// What is left of a job whose end was interrupted is no job, and in nobody's way.
func TestSnapshotInterrupted(t *testing.T) {
	l := newLab(t, nil)
	s := l.counting(1 << 20)
	l.run(s)
	clean := l.belongings(s.ID)
	l.snapshot(s, "half", l.dir)
	l.ended(s.ID, "half")
	l.must(l.h.Close())
	var jobs []struct {
		ID string `json:"id"`
	}
	l.query(s.ID, "query-jobs", &jobs)
	if len(jobs) != 2 {
		t.Fatalf("jobs are %v", jobs)
	}
	c := l.talk(s.ID)
	l.must(c.Execute(l.ctx, "job-dismiss", jobs[0], nil))
	l.must(c.Close())
	l.open()
	if st, err := l.h.SnapshotJob(l.ctx, s.ID, "half"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("half a job is %+v, %v", st, err)
	}
	l.snapshot(s, "half", l.dir)
	if st := l.ended(s.ID, "half"); st.Err != nil {
		t.Errorf("begun anew it is %+v", st)
	}
	l.must(l.h.EndSnapshot(l.ctx, s.ID, "half"))
	if left := l.belongings(s.ID); left != clean {
		t.Errorf("before: %s\nafter: %s", clean, left)
	}
}

// Of many viewers the oldest makes room, the others stay; Close of the driver ends
// them all and no machine.
func TestManyViewers(t *testing.T) {
	l := newLab(t, nil)
	s := pc.WithDisks(t, pc.Spec(l.dir, 1))
	s.Video = driver.Video{Model: "vga"}
	l.run(s)
	var views []io.ReadWriteCloser
	hello := make([]byte, 12)
	for range 9 {
		v, err := l.h.Display(l.ctx, s.ID)
		l.must(err)
		views = append(views, v)
		if _, err := io.ReadFull(v, hello); err != nil || string(hello) != "RFB 003.008\n" {
			t.Fatalf("%q, %v", hello, err)
		}
	}
	if _, err := views[0].Read(hello); err == nil {
		t.Error("the oldest viewer is still there")
	}
	_, err := views[1].Write(hello)
	l.must(err)
	if _, err := io.ReadFull(views[1], hello[:2]); err != nil {
		t.Errorf("the second: %v", err)
	}
	l.must(l.h.Close())
	if _, err := views[8].Read(hello); err == nil {
		t.Error("a viewer of a closed driver reads on")
	}
	l.open()
	l.is(s.ID, driver.Running)
}
