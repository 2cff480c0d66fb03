package api

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// later does something that goes on when its caller has been answered, until it is
// done or the server is to stop. It returns once work calls begun, or with work's
// error where that comes first; errors after that are logged under the request.
func (q *request) later(what string, work func(ctx context.Context, begun func()) error) error {
	ctx, cancel := context.WithCancel(q.lasting())
	stop := context.AfterFunc(q.stopping, cancel)
	log := q.Logger.With("request", q.id, "what", what)
	answered := make(chan error, 1)
	var once sync.Once
	answer := func(err error) (first bool) {
		once.Do(func() { answered <- err; first = true })
		return first
	}
	go func() {
		defer cancel()
		defer stop()
		err := safely(func() error { return work(ctx, func() { answer(nil) }) })
		switch {
		case answer(err):
		case err != nil:
			log.Warn("what was begun for a caller failed", "error", err)
		default:
			log.Info("what was begun for a caller is done")
		}
	}()
	return <-answered
}

// safely turns a panic into an error.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
