package image

import (
	"context"
	"sync"

	"github.com/shakenfist/cloud/driver"
)

// flights lets concurrent callers for one key share one piece of work. The first
// does it on its own goroutine; when it is cancelled, one of those who wait takes
// over, and finds what was done so far in the partial file.
type flights struct {
	mu  sync.Mutex
	now map[string]*flight
}

type flight struct {
	done    chan struct{}
	image   driver.Image // valid when done
	err     error
	retry   bool // the leader was cancelled: somebody else must do it
	mu      sync.Mutex
	reports []func(driver.Progress)
}

// report passes progress on to everybody who waits.
func (f *flight) report(p driver.Progress) {
	f.mu.Lock()
	reports := f.reports
	f.mu.Unlock()
	for _, r := range reports {
		r(p)
	}
}

// do runs work for key, or waits for whoever does.
func (s *flights) do(ctx context.Context, key string, report func(driver.Progress),
	work func(report func(driver.Progress)) (driver.Image, error)) (driver.Image, error) {
	for {
		f, leader := s.join(key, report)
		if leader {
			return s.lead(ctx, key, f, work)
		}
		select {
		case <-ctx.Done():
			return driver.Image{}, context.Cause(ctx)
		case <-f.done:
			if !f.retry {
				return f.image, f.err
			}
		}
	}
}

// lead does the work of f and tells the others.
func (s *flights) lead(ctx context.Context, key string, f *flight, work func(report func(driver.Progress)) (driver.Image, error)) (driver.Image, error) {
	f.retry = true // should work panic
	defer func() {
		s.mu.Lock()
		delete(s.now, key)
		s.mu.Unlock()
		close(f.done)
	}()
	f.image, f.err = work(f.report)
	f.retry = f.err != nil && ctx.Err() != nil
	return f.image, f.err
}

// join returns the flight of key and whether the caller leads it.
func (s *flights) join(key string, report func(driver.Progress)) (f *flight, leader bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		s.now = make(map[string]*flight)
	}
	f = s.now[key]
	if f == nil {
		f, leader = &flight{done: make(chan struct{})}, true
		s.now[key] = f
	}
	f.mu.Lock()
	// A new slice: report may be walking the old one.
	f.reports = append(f.reports[:len(f.reports):len(f.reports)], report)
	f.mu.Unlock()
	return f, leader
}
