package backlog

import (
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"
)

var errEnd = errors.New("the end")

func locked(mu *sync.Mutex, f func()) {
	mu.Lock()
	defer mu.Unlock()
	f()
}

// A reader gets everything in order, then the end, as often as it asks.
func TestRead(t *testing.T) {
	var mu sync.Mutex
	b := New(&mu, 0)
	locked(&mu, func() { b.Feed([]byte("one ")); b.Feed([]byte("two")); b.End(io.EOF) })
	if err := iotest.TestReader(b, []byte("one two")); err != nil {
		t.Error(err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

// Of what a slow reader leaves the last bytes are kept, and no more.
func TestLimit(t *testing.T) {
	var mu sync.Mutex
	b := New(&mu, 4)
	p := make([]byte, 10)
	for _, tt := range []struct{ feed, want string }{{"abc", "abc"}, {"abcd", "abcd"}, {"abcdefg", "defg"}, {"x", "x"}} {
		locked(&mu, func() { b.Feed([]byte(tt.feed)) })
		if n, err := b.Read(p); string(p[:n]) != tt.want || err != nil {
			t.Errorf("after %q: %q, %v", tt.feed, p[:n], err)
		}
	}
	locked(&mu, func() { b.Feed([]byte("abc")); b.Feed([]byte("de")) })
	if n, _ := b.Read(p); string(p[:n]) != "bcde" {
		t.Errorf("after two pieces: %q", p[:n])
	}
}

// What wakes a reader that waits: output, an end, and being dropped.
func TestWake(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Backlog)
		n    int
		err  error
	}{
		{"Feed", func(b *Backlog) { b.Feed([]byte("x")) }, 1, nil},
		{"End", func(b *Backlog) { b.End(errEnd) }, 0, errEnd},
		{"Drop", func(b *Backlog) { b.Drop(errEnd) }, 0, errEnd},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			b := New(&mu, 0)
			type read struct {
				n   int
				err error
			}
			reads := make(chan read)
			go func() {
				n, err := b.Read(make([]byte, 1))
				reads <- read{n, err}
			}()
			locked(&mu, func() { tt.do(b) })
			if r := <-reads; r != (read{tt.n, tt.err}) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// Drop takes what is left away, End does not; reading nothing never waits.
func TestDrop(t *testing.T) {
	var mu sync.Mutex
	b := New(&mu, 0)
	if n, err := b.Read(nil); n != 0 || err != nil {
		t.Errorf("reading nothing: %d, %v", n, err)
	}
	locked(&mu, func() { b.Feed([]byte("x")); b.Drop(errEnd) })
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != errEnd || b.Err() != errEnd {
		t.Errorf("got %d, %v", n, err)
	}
}
