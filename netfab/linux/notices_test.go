//go:build linux

package linux

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// FuzzNotices reads whatever a socket of the kernel's might say: no message goes beyond
// what was read, and a datagram without a whole one is about nothing.
func FuzzNotices(f *testing.F) {
	message := func(kind uint16, body []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
		return append(append(binary.NativeEndian.AppendUint16(b, kind), make([]byte, unix.NLMSG_HDRLEN-6)...), body...)
	}
	neighbour := make([]byte, unix.SizeofNdMsg)
	f.Add(message(unix.RTM_NEWNEIGH, neighbour), false)
	f.Add(append(message(unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg)), message(unix.RTM_NEWNEIGH, neighbour[:5])...), false)
	f.Add(message(5, nil), true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, nftables bool) {
		messages, bytes := 0, 0
		each(b, func(_ uint16, body []byte) {
			messages++
			bytes += len(body) + unix.NLMSG_HDRLEN
			rt.NameOf(body)
		})
		if bytes > len(b) || relevant(b, nftables) && messages == 0 {
			t.Errorf("% x: %d messages of %d bytes", b, messages, bytes)
		}
	})
}
