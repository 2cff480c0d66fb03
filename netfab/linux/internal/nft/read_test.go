//go:build linux

package nft

import "testing"

func TestCommentOf(t *testing.T) {
	for _, c := range []struct {
		data []byte
		want string
	}{
		{comment("hello"), "hello"},
		{append([]byte{9, 1, 'x'}, comment("second")...), "second"},
		{nil, ""},
		{[]byte{0}, ""},
		{[]byte{0, 200, 'a'}, ""}, // says it is longer than it is
		{[]byte{0, 0}, ""},
	} {
		if got := commentOf(c.data); got != c.want {
			t.Errorf("comment of % x is %q, want %q", c.data, got, c.want)
		}
	}
}

func FuzzCommentOf(f *testing.F) {
	f.Add(comment("hello"))
	f.Fuzz(func(t *testing.T, b []byte) { commentOf(b) })
}
