package token_test

import (
	"context"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/driver/internal/token"
)

func TestToken(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	one := token.New()
	if one.Taken() {
		t.Error("a new token is taken")
	}
	if err := one.Take(over); err != nil || !one.Taken() {
		t.Errorf("taking a free one: %v", err)
	}
	if err := one.Take(over); err != context.Canceled || one.Try() {
		t.Errorf("taking one that is taken: %v", err)
	}
	one.Give()
	if one.Taken() || !one.Try() {
		t.Error("one that was given back is not free")
	}
}

// One at a time has it.
func TestExclusive(t *testing.T) {
	one, n := token.New(), 0
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := one.Take(t.Context()); err != nil {
				t.Error(err)
				return
			}
			defer one.Give()
			n++
		})
	}
	all.Wait()
	if n != 50 {
		t.Errorf("%d had it", n)
	}
}
