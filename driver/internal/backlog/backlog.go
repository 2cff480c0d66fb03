// Package backlog keeps what was said to a reader until it reads it.
package backlog

import "sync"

// Backlog is bytes on their way to one reader. Whoever speaks holds the lock that it
// was made with, and never waits; the reader's lock is the same.
type Backlog struct {
	limit int
	wake  sync.Cond
	buf   []byte
	err   error // what Read returns when buf is empty
}

// New makes a Backlog that keeps the last limit bytes, or all where limit is 0.
func New(lock sync.Locker, limit int) *Backlog {
	return &Backlog{limit: limit, wake: sync.Cond{L: lock}}
}

// Feed adds output; the oldest is dropped where a slow reader leaves more than the
// limit. The lock is held.
func (b *Backlog) Feed(p []byte) {
	b.buf = append(b.buf, p...)
	if over := len(b.buf) - b.limit; over > 0 && b.limit > 0 {
		b.buf = append([]byte(nil), b.buf[over:]...)
	}
	b.wake.Broadcast()
}

// End has the reader get what is left and then err. The lock is held.
func (b *Backlog) End(err error) {
	b.err = err
	b.wake.Broadcast()
}

// Drop has the reader get err at once. The lock is held.
func (b *Backlog) Drop(err error) {
	b.buf = nil
	b.End(err)
}

// Err is what it was ended with, or nil. The lock is held.
func (b *Backlog) Err() error { return b.err }

// Read takes the lock, and waits without it for something to read.
func (b *Backlog) Read(p []byte) (int, error) {
	b.wake.L.Lock()
	defer b.wake.L.Unlock()
	for len(b.buf) == 0 && b.err == nil && len(p) > 0 {
		b.wake.Wait()
	}
	if len(b.buf) == 0 && b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.buf)
	b.buf = b.buf[n:]
	return n, nil
}
