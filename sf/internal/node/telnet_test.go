package node

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

func TestTelnetReader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain\n", "plain\n"},
		{"\xff\xfb\x01a\xff\xfd\x03b", "ab"},
		{"\xff\xfa\x18\x00xterm\xff\xf0c", "c"},
		{"a\xff\xffb", "a\xffb"},
		{"ls\r\x00", "ls\r"},
		{"ls\r\n", "ls\r"},
		{"a\n", "a\n"},
		{"\xff\xf1x", "x"},
		{"\xff\xfa\x18\xff\xffz\xff\xf0q", "q"},
	} {
		for _, r := range []io.Reader{bytes.NewReader([]byte(c.in)), iotest.OneByteReader(bytes.NewReader([]byte(c.in)))} {
			got, err := io.ReadAll(&telnetReader{r: r})
			if err != nil || string(got) != c.want {
				t.Errorf("%q gives %q, %v; want %q", c.in, got, err, c.want)
			}
		}
	}
}

func FuzzTelnetReader(f *testing.F) {
	f.Add([]byte("a\xff\xfb\x01b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, _ := io.ReadAll(&telnetReader{r: bytes.NewReader(in)})
		bits, _ := io.ReadAll(&telnetReader{r: iotest.OneByteReader(bytes.NewReader(in))})
		if !bytes.Equal(whole, bits) {
			t.Errorf("%q: %q whole, %q byte by byte", in, whole, bits)
		}
	})
}

func TestPrompts(t *testing.T) {
	var s consoleState
	n := 0
	for _, part := range []string{"boot\r\nhost log", "in", ": ", "root\r\n", "Last login: Mon\r\n# ", "exit\r\nhost login: "} {
		n += s.scan([]byte(part))
	}
	if n != 2 {
		t.Errorf("%d prompts", n)
	}
	if n := s.scan(bytes.Repeat([]byte("x"), 1<<20)); n != 0 || len(s.line) > maxLine {
		t.Errorf("%d prompts, a line of %d bytes", n, len(s.line))
	}
}
