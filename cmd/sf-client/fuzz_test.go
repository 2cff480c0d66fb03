package main

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzEscape types whatever there is, in pieces of any size: all before the escape key
// arrives, nothing behind it does, and without one nobody leaves.
func FuzzEscape(f *testing.F) {
	f.Add([]byte("root\r\x1dmore"), true)
	f.Add([]byte("\x1d"), false)
	f.Add([]byte("ls\r"), true)
	f.Fuzz(func(t *testing.T, typed []byte, slowly bool) {
		var from io.Reader = bytes.NewReader(typed)
		if slowly {
			from = iotest.OneByteReader(from)
		}
		got, err := io.ReadAll(escapable{from})
		want, _, left := bytes.Cut(typed, []byte{escapeKey})
		if !bytes.Equal(got, want) || left != errors.Is(err, errLeft) || !left && err != nil {
			t.Errorf("%q: %q, %v", typed, got, err)
		}
	})
}
