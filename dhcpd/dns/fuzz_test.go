package dns

import (
	"bytes"
	"testing"
)

// FuzzForward reads whatever upstream servers and a resolv.conf say: what is taken as
// a message has the length that it says, and what is taken as an answer has the
// question's ID.
func FuzzForward(f *testing.F) {
	query := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1}
	reply := bytes.Clone(query)
	reply[2] |= 0x80
	f.Add(append([]byte{0, byte(len(reply))}, reply...))
	f.Add([]byte{0xff, 0xff, 1})
	f.Add([]byte("nameserver 10.0.0.1\nnameserver ::1%lo\nnameserver\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		message, err := readMessage(bytes.NewReader(b))
		if err == nil && (len(b) < 2 || len(message) != int(b[0])<<8|int(b[1])) {
			t.Errorf("%d bytes of %q", len(message), b)
		}
		if err == nil && answers(query, message) && (len(message) < 12 || !bytes.Equal(message[:2], query[:2])) {
			t.Errorf("%q answers", message)
		}
		for _, server := range Upstreams(string(b)) {
			if !server.IsValid() || server.Port() != 53 {
				t.Errorf("%s of %q", server, b)
			}
		}
	})
}
