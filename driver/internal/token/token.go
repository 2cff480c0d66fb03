// Package token is a lock for work that takes long: whoever wants it waits no longer
// than a context lasts, or not at all.
package token

import "context"

// Token is in one hand at a time. New makes one.
type Token struct{ taken chan struct{} }

// New makes a token that nobody has.
func New() Token { return Token{make(chan struct{}, 1)} }

// Take waits for the token. One that is free is taken even when ctx is done.
func (t Token) Take(ctx context.Context) error {
	if t.Try() {
		return nil
	}
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Try takes the token if it is free.
func (t Token) Try() bool {
	select {
	case t.taken <- struct{}{}:
		return true
	default:
		return false
	}
}

// Taken reports whether somebody has it, at the moment.
func (t Token) Taken() bool { return len(t.taken) > 0 }

// Give gives it back.
func (t Token) Give() { <-t.taken }
