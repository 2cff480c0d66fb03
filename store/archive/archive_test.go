package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/archive"
	"github.com/shakenfist/cloud/store/faulty"
	"github.com/shakenfist/cloud/store/memory"
)

// filled is a store with n records, where they are many two big ones, and one of a session.
func filled(t testing.TB, n int) store.Store {
	t.Helper()
	s := memory.New(memory.Config{})
	t.Cleanup(func() { s.Close() })
	for i := range n {
		put(t, s, fmt.Sprintf("sf/k/%05d", i), bytes.Repeat([]byte{byte(i)}, i%300))
	}
	if n > 1000 { // it takes its time
		put(t, s, "sf/user-data/big", make([]byte, 1<<20))
		put(t, s, "sf/user-data/bigger", make([]byte, 1<<20))
	}
	x, err := s.Session(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{store.PutIn(x.ID(), "sf/node-live/a", nil)}}); err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s store.Store, key string, value []byte) {
	t.Helper()
	if _, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{store.Put(key, value)}}); err != nil {
		t.Fatal(err)
	}
}

// contents renders what stays when all processes are gone.
func contents(t testing.TB, s store.Store) string {
	t.Helper()
	l, err := s.List(t.Context(), "", store.Page{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range l.Records {
		if r.Session == 0 {
			fmt.Fprintf(&b, "%s=%x\n", r.Key, r.Value)
		}
	}
	return b.String()
}

func write(t testing.TB, s store.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := archive.Write(t.Context(), &b, s, archive.Header{Cloud: "c"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestThereAndBack(t *testing.T) {
	from, to := filled(t, 1700), memory.New(memory.Config{})
	defer to.Close()
	data := write(t, from)
	h, n, err := archive.Restore(t.Context(), to, bytes.NewReader(data))
	if err != nil || n != 1702 || h.Cloud != "c" || h.Revision == 0 {
		t.Fatalf("%+v, %d records, %v", h, n, err)
	}
	if contents(t, from) != contents(t, to) {
		t.Error("what came back is something else")
	}
	if err := archive.Check(t.Context(), to); err != nil {
		t.Error(err)
	}
	if _, _, err := archive.Restore(t.Context(), to, bytes.NewReader(data)); !errors.Is(err, archive.ErrNotEmpty) {
		t.Errorf("into a store that is not empty: %v", err)
	}
}

// busy writes something behind each page that is read.
type busy struct {
	store.Store
	t testing.TB
}

func (b busy) List(ctx context.Context, prefix string, p store.Page) (store.List, error) {
	l, err := b.Store.List(ctx, prefix, p)
	put(b.t, b.Store, "sf/k/00000", []byte("changed"))
	put(b.t, b.Store, fmt.Sprint("sf/zzz/", l.More, p.After), nil)
	return l, err
}

// What is written meanwhile is not in it.
func TestOneRevision(t *testing.T) {
	from, to := filled(t, 1700), memory.New(memory.Config{})
	defer to.Close()
	want := contents(t, from)
	if _, _, err := archive.Restore(t.Context(), to, bytes.NewReader(write(t, busy{from, t}))); err != nil {
		t.Fatal(err)
	}
	if contents(t, to) != want {
		t.Error("it shows more than one revision")
	}
}

// Whatever is cut off or changed, nothing is written.
func TestDamaged(t *testing.T) {
	data := write(t, filled(t, 20))
	try := func(name string, data []byte) {
		to := memory.New(memory.Config{})
		defer to.Close()
		_, _, err := archive.Restore(t.Context(), to, bytes.NewReader(data))
		if !errors.Is(err, archive.ErrDamaged) || contents(t, to) != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	step := len(data)/100 + 1
	for i := 0; i < len(data); i += step {
		try(fmt.Sprintf("cut off after %d bytes", i), data[:i])
		changed := bytes.Clone(data)
		changed[i] ^= 1
		if to := memory.New(memory.Config{}); true {
			if _, _, err := archive.Restore(t.Context(), to, bytes.NewReader(changed)); err == nil || contents(t, to) != "" {
				t.Errorf("a changed byte %d: %v", i, err)
			}
			to.Close()
		}
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	try("a record is missing", bytes.Join(append(lines[:3:3], lines[4:]...), nil))
	try("more behind the end", append(bytes.Clone(data), "{}\n"...))
	try("another file", []byte("hello\n"))
	newer := bytes.Replace(data, []byte(`"version":1`), []byte(`"version":2`), 1)
	if _, _, err := archive.Verify(bytes.NewReader(newer)); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer version: %v", err)
	}
}

// A store that fails while it is read makes an archive that says so.
func TestUnreadableStore(t *testing.T) {
	s := faulty.New(filled(t, 1700), faulty.Config{Decide: faulty.Nth(2, faulty.Fault{Effect: faulty.Refuse}, faulty.List)})
	var b bytes.Buffer
	if _, err := archive.Write(t.Context(), &b, s, archive.Header{}); err == nil {
		t.Fatal("no error")
	}
	if _, _, err := archive.Verify(&b); !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), "not finished") {
		t.Error(err)
	}
}

// An interrupted restore is noticed by whoever opens the store.
func TestInterrupted(t *testing.T) {
	data := write(t, filled(t, 200))
	to := memory.New(memory.Config{})
	defer to.Close()
	s := faulty.New(to, faulty.Config{Decide: faulty.Nth(3, faulty.Fault{Effect: faulty.LoseRequest}, faulty.Commit)})
	if _, _, err := archive.Restore(t.Context(), s, bytes.NewReader(data)); err == nil {
		t.Fatal("no error")
	}
	if err := archive.Check(t.Context(), to); !errors.Is(err, archive.ErrPartial) {
		t.Error(err)
	}
	if _, _, err := archive.Restore(t.Context(), to, bytes.NewReader(data)); !errors.Is(err, archive.ErrPartial) {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(write(f, filled(f, 3)))
	f.Fuzz(func(t *testing.T, data []byte) {
		to := memory.New(memory.Config{})
		defer to.Close()
		_, n, err := archive.Verify(bytes.NewReader(data))
		_, m, err2 := archive.Restore(t.Context(), to, bytes.NewReader(data))
		if err != nil && (err2 == nil || contents(t, to) != "") || err2 == nil && n != m {
			t.Fatalf("verified: %d, %v; restored: %d, %v", n, err, m, err2)
		}
	})
}
