package store

import (
	"fmt"
	"strings"
)

// Validate reports whether txn keeps the rules that hold for every
// implementation, whatever the state of the store: ErrInvalid or ErrTooLarge
// when it does not. Implementations call it before anything else.
func (t Txn) Validate() error {
	if n := len(t.If) + len(t.Do); n > MaxOps {
		return fmt.Errorf("%w: %d conditions and operations, at most %d", ErrTooLarge, n, MaxOps)
	}
	size := 0
	for i, c := range t.If {
		if c.Kind < CondExists || c.Kind > CondPrefixEmpty {
			return fmt.Errorf("%w: condition %d has kind %d, which is no condition", ErrInvalid, i, c.Kind)
		}
		if err := validKey(c.Key); err != nil {
			return fmt.Errorf("condition %d: %w", i, err)
		}
		size += len(c.Key)
	}
	for i, op := range t.Do {
		if op.Kind < OpPut || op.Kind > OpDeletePrefix {
			return fmt.Errorf("%w: operation %d has kind %d, which is no operation", ErrInvalid, i, op.Kind)
		}
		if err := validKey(op.Key); err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
		size += len(op.Key) + len(op.Value)
	}
	if size > MaxBytes {
		return fmt.Errorf("%w: %d bytes of keys and values, at most %d", ErrTooLarge, size, MaxBytes)
	}
	return disjoint(t.Do)
}

func validKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty key", ErrInvalid)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: key of %d bytes, at most %d, that begins with %.40q", ErrTooLarge, len(key), MaxKey, key)
	}
	return nil
}

// disjoint reports whether no two operations touch the same key. There are at
// most MaxOps of them, so comparing each pair is cheaper than anything clever.
func disjoint(ops []Op) error {
	for i, a := range ops {
		for _, b := range ops[:i] {
			if a.Key == b.Key || a.covers(b.Key) || b.covers(a.Key) {
				return fmt.Errorf("%w: key written twice: %q and %q", ErrInvalid, b.Key, a.Key)
			}
		}
	}
	return nil
}

func (op Op) covers(key string) bool {
	return op.Kind == OpDeletePrefix && strings.HasPrefix(key, op.Key)
}

// String names the condition for errors and logs.
func (c Cond) String() string {
	switch c.Kind {
	case CondExists:
		return fmt.Sprintf("%q must exist", c.Key)
	case CondAbsent:
		return fmt.Sprintf("%q must not exist", c.Key)
	case CondRevision:
		return fmt.Sprintf("%q must be of revision %d", c.Key, c.Revision)
	case CondPrefixEmpty:
		return fmt.Sprintf("no key may start with %q", c.Key)
	}
	return fmt.Sprintf("invalid condition %d on %q", c.Kind, c.Key)
}
