package api

import (
	"context"
	"sync"
)

const (
	// smallBody is the size up to which bodies are read as they come, and the most
	// that who has not said who they are may send.
	smallBody = 64 << 10
	// largeBodies is how many larger ones, or such as may become larger, are held at a
	// time; others wait.
	largeBodies = 16
	// loginsEach is how many tries to log in from one address are looked at at a
	// time; others wait. Hashing is slow, and one address should not have it all.
	loginsEach = 4
)

// gate lets so many in for each key at a time; who comes later waits.
type gate struct {
	most int

	mu   sync.Mutex
	keys map[string]*turnstile
}

type turnstile struct {
	places chan struct{}
	users  int // inside or waiting; without any it is forgotten
}

func newGate(most int) *gate { return &gate{most: most, keys: map[string]*turnstile{}} }

// enter waits for a place and returns what gives it back, or ctx's error.
func (g *gate) enter(ctx context.Context, key string) (leave func(), err error) {
	t := g.arrive(key)
	select {
	case t.places <- struct{}{}:
		return func() { <-t.places; g.depart(key, t) }, nil
	case <-ctx.Done():
		g.depart(key, t)
		return nil, ctx.Err()
	}
}

func (g *gate) arrive(key string) *turnstile {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.keys[key]
	if t == nil {
		t = &turnstile{places: make(chan struct{}, g.most)}
		g.keys[key] = t
	}
	t.users++
	return t
}

func (g *gate) depart(key string, t *turnstile) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(g.keys, key)
	}
}

// readArgs reads the body. The room that a large one takes is given back when what
// it asks for is recorded, by doneReading, and at once where it turns out not to be large:
// callers who do not say how long theirs is may be here for hours, as readers of a stream.
func (q *request) readArgs() (err error) {
	limit := q.MaxBody
	if q.route.access == anyone {
		limit = min(limit, smallBody)
	}
	if n := q.http.ContentLength; limit > smallBody && (n < 0 || n > smallBody && n <= limit) {
		if q.largeBody, err = q.bodies.enter(q.ctx(), ""); err != nil {
			return errGone
		}
	}
	q.args, err = readArgs(q.w, q.http, limit)
	if err == nil && q.args.size() <= smallBody {
		q.leaveLarge()
	}
	return err
}

// doneReading lets go of the arguments.
func (q *request) doneReading() {
	if q.largeBody != nil {
		q.leaveLarge()
		q.args = &args{}
	}
}

func (q *request) leaveLarge() {
	if q.largeBody != nil {
		q.largeBody()
		q.largeBody = nil
	}
}
