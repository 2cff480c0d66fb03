// Package reconcile runs keyed, level-triggered reconcilers: a key says that
// something may differ from what is wanted, never what; whoever handles it looks
// again. One key is never handled twice at the same time.
package reconcile

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Queue holds the keys that are due, or will be.
type Queue struct {
	clock Clock
	wake  chan struct{} // capacity 1: something may be due earlier than thought

	mu      sync.Mutex
	heap    entries
	entries map[string]*entry
	seq     int64
}

type entry struct {
	key     string
	due     time.Time
	seq     int64
	index   int  // in the heap, -1 when not
	running bool // handed out by Next
	again   bool // added while running
}

// New returns an empty queue.
func New(clock Clock) *Queue {
	return &Queue{clock: clock, wake: make(chan struct{}, 1), entries: map[string]*entry{}}
}

// Add makes key due now.
func (q *Queue) Add(key string) { q.AddAfter(key, 0) }

// AddAfter makes key due in d, or leaves it where it is due earlier already.
func (q *Queue) AddAfter(key string, d time.Duration) {
	q.mu.Lock()
	q.add(key, q.clock.Now().Add(d))
	q.mu.Unlock()
	q.signal()
}

func (q *Queue) add(key string, due time.Time) {
	e := q.entries[key]
	if e == nil {
		e = &entry{key: key, index: -1}
		q.entries[key] = e
	}
	switch {
	case e.running:
		if !e.again || due.Before(e.due) {
			e.due, e.again = due, true
		}
	case e.index < 0:
		q.push(e, due)
	case due.Before(e.due):
		e.due = due
		heap.Fix(&q.heap, e.index)
	}
}

func (q *Queue) push(e *entry, due time.Time) {
	q.seq++
	e.due, e.seq = due, q.seq
	heap.Push(&q.heap, e)
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Next waits for a key to be due and hands it out; Done must follow.
func (q *Queue) Next(ctx context.Context) (string, error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		key, wait, ok := q.pop()
		if ok {
			return key, nil
		}
		if err := q.clock.Wait(ctx, wait, q.wake); err != nil {
			return "", err
		}
	}
}

// pop takes the first due key, or says how long until there is one (negative:
// nothing is waiting).
func (q *Queue) pop() (key string, wait time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return "", -1, false
	}
	if wait := q.heap[0].due.Sub(q.clock.Now()); wait > 0 {
		return "", wait, false
	}
	e := heap.Pop(&q.heap).(*entry)
	e.running, e.again = true, false
	if len(q.heap) > 0 {
		q.signal() // another worker may take the next one
	}
	return e.key, 0, true
}

// Done ends the handling of key. after says when to handle it again; negative
// means when it is added the next time.
func (q *Queue) Done(key string, after time.Duration) {
	q.mu.Lock()
	e := q.entries[key]
	e.running = false
	due := q.clock.Now().Add(after)
	switch {
	case e.again && (after < 0 || e.due.Before(due)):
		q.push(e, e.due)
	case after >= 0:
		q.push(e, due)
	default:
		delete(q.entries, key)
	}
	q.mu.Unlock()
	q.signal()
}

// Len is the number of keys that are due, will be, or are being handled.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}

// Depths say how many keys there are, by what they wait for.
type Depths struct{ Due, Later, Running int }

// Depths counts the keys.
func (q *Queue) Depths() (d Depths) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for _, e := range q.entries {
		switch {
		case e.running:
			d.Running++
		case e.due.After(now):
			d.Later++
		default:
			d.Due++
		}
	}
	return d
}

// Backoff is how long to wait after the n-th failure in a row, from 1: it doubles
// from 100 ms to 30 s.
func Backoff(n int) time.Duration {
	d := 100 * time.Millisecond
	for i := 1; i < n && d < 30*time.Second; i++ {
		d *= 2
	}
	return min(d, 30*time.Second)
}

type entries []*entry

func (h entries) Len() int { return len(h) }
func (h entries) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].seq < h[j].seq
}
func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *entries) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *entries) Pop() any {
	old := *h
	e := old[len(old)-1]
	e.index = -1
	*h = old[:len(old)-1]
	return e
}
