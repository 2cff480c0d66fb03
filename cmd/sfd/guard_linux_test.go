package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// posted is a guard at work in this process.
func posted(t *testing.T, socket string, fire func(told func() bool)) (ended chan error) {
	t.Helper()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	l, err := listenGuard(socket)
	if err != nil {
		t.Fatal(err)
	}
	p := &post{fire: fire, done: make(chan struct{})}
	ended = make(chan error, 1)
	go func() { ended <- p.serve(l) }()
	return ended
}

// A guard that is not told in time strikes and ends; whoever comes too late is not
// told that machines may run, and its successor takes over the name.
func TestGuardEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "guard")
	struck := make(chan struct{})
	first := posted(t, socket, func(func() bool) { close(struck) })
	if err := tell(t.Context(), socket, "keep 20"); err != nil {
		t.Fatal(err)
	}
	<-struck
	if err := <-first; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if err := tell(t.Context(), socket, "keep 1000"); err == nil {
		t.Error("a guard that has ended says that machines may run")
	}
	second := posted(t, socket, func(func() bool) { t.Error("it struck though it was told to quit") })
	for _, order := range []string{"keep 60000", "quit"} {
		if err := tell(t.Context(), socket, order); err != nil {
			t.Errorf("%s: %v", order, err)
		}
	}
	if err := <-second; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// Machines that are let run again while a guard strikes are guarded on.
func TestGuardIsToldAtLast(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "guard")
	strikes, on := make(chan struct{}), make(chan struct{})
	var again []bool
	ended := posted(t, socket, func(told func() bool) {
		strikes <- struct{}{}
		<-on
		again = append(again, told())
	})
	if err := tell(t.Context(), socket, "keep 1"); err != nil {
		t.Fatal(err)
	}
	<-strikes
	if err := tell(t.Context(), socket, "keep 50"); err != nil {
		t.Fatal(err)
	}
	close(on)
	select {
	case <-strikes: // the second time
	case err := <-ended:
		t.Fatalf("it ended with %v though it was to guard on", err)
	case <-time.After(time.Minute):
		t.Fatal("it never strikes again")
	}
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if len(again) != 2 || !again[0] || again[1] {
		t.Errorf("while it struck it was told: %v", again)
	}
}

// A daemon that starts, and fails or is killed before it has a guard of its own, leaves
// the one of the daemon before it on its post.
func TestGuardIsRelieved(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "guard")
	never := func(func() bool) { t.Error("it struck") }
	first := posted(t, socket, never)
	if err := tell(t.Context(), socket, "keep 60000"); err != nil {
		t.Fatal(err)
	}
	var second chan error
	for _, fails := range []bool{true, true, false} {
		if err := asideGuard(socket); err != nil {
			t.Fatal(err)
		}
		g := &guard{socket: socket, start: func(context.Context) error {
			select {
			case err := <-first:
				t.Errorf("machines are without a guard: %v", err)
			default:
			}
			if fails {
				return errors.New("it does not start")
			}
			second = posted(t, socket, never)
			return nil
		}}
		if err := g.Keep(t.Context(), time.Minute); (err != nil) != fails {
			t.Fatalf("start fails: %v, keep: %v", fails, err)
		}
	}
	if err := <-first; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if left, _ := filepath.Glob(socket + ".*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if err := tell(t.Context(), socket, "quit"); err != nil {
		t.Error(err)
	}
	<-second
}

// A guard that was stopped for a while, by a host that swaps, such as, is relieved by the
// one that was started in its place, and does not strike when its time is over.
func TestSlowGuardIsRelieved(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	socket := filepath.Join(t.TempDir(), "guard")
	slow, err := listenGuard(socket)
	if err != nil {
		t.Fatal(err)
	}
	never := func(func() bool) { t.Error("it struck") }
	var second chan error
	g := &guard{socket: socket, start: func(context.Context) error {
		second = posted(t, socket, never)
		return nil
	}}
	if err := g.Keep(ctx, time.Hour); err == nil {
		t.Error("a guard that may yet strike is forgotten")
	}
	p := &post{fire: never, done: make(chan struct{})}
	first := make(chan error, 1)
	go func() { first <- p.serve(slow) }() // it goes on
	if err := g.Keep(ctx, time.Hour); err != nil {
		t.Error(err)
	}
	select {
	case <-first:
	case <-ctx.Done():
		t.Error("two guards stand")
		slow.Close()
	}
	if err := tell(t.Context(), socket, "quit"); err != nil {
		t.Error(err)
	}
	<-second
}

// A data directory's path may be longer than a socket's address.
func TestGuardInDeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, guardSocket)
	var ended chan error
	g := &guard{socket: socket, start: func(context.Context) error {
		ended = posted(t, socket, func(func() bool) { t.Error("it struck") })
		return nil
	}}
	if err := g.Keep(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := tell(t.Context(), socket, "quit"); err != nil {
		t.Error(err)
	}
	<-ended
}
