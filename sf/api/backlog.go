package api

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// backlog holds output between a machine that must not wait and a viewer who
// may. When it is full the oldest half goes, and the viewer is told.
type backlog struct {
	size int

	mu      sync.Mutex
	changed *sync.Cond
	data    []byte
	lost    int
	err     error // why there will be no more
}

func newBacklog(size int) *backlog {
	b := &backlog{size: size}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// fill reads from a machine until it ends.
func (b *backlog) fill(from io.Reader) {
	p := make([]byte, 32<<10)
	for {
		n, err := from.Read(p)
		b.add(p[:n])
		if errors.Is(err, io.EOF) {
			err = errMachineStopped
		}
		if err != nil {
			b.close(err)
			return
		}
	}
}

func (b *backlog) add(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.data)+len(p) > b.size {
		drop := min(len(b.data), max(b.size/2, len(p)))
		b.lost += drop
		b.data = append(b.data[:0], b.data[drop:]...)
	}
	b.data = append(b.data, p...)
	b.changed.Broadcast()
}

// take waits for output and returns all there is; the error comes with or after
// the last.
func (b *backlog) take() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.data) == 0 && b.err == nil {
		b.changed.Wait()
	}
	out := b.data
	if b.lost > 0 {
		out = append([]byte(fmt.Sprintf("\r\n[%d bytes of output were dropped: this viewer was too slow]\r\n", b.lost)), out...)
	}
	b.data, b.lost = nil, 0
	b.changed.Broadcast()
	return out, b.err
}

// close says that there will be no more, and why. The first reason stays.
func (b *backlog) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.changed.Broadcast()
}
