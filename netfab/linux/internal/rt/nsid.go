//go:build linux

package rt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Number returns the number of a namespace within that of the connection, giving
// it one where it has none.
func (c *Conn) Number(nsFd int) (int32, error) {
	file := netlink.Attribute{Type: unix.NETNSA_FD, Data: binary.NativeEndian.AppendUint32(nil, uint32(nsFd))}
	var any int32 = -1
	number := netlink.Attribute{Type: unix.NETNSA_NSID, Data: binary.NativeEndian.AppendUint32(nil, uint32(any))}
	r := request("number a namespace", unix.RTM_NEWNSID, 0, make([]byte, 4), nil, file, number)
	r.tolerate = unix.EEXIST
	if err := c.Do(r); err != nil {
		return 0, err
	}
	body, err := netlink.MarshalAttributes([]netlink.Attribute{file})
	if err != nil {
		return 0, err
	}
	msgs, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETNSID, Flags: netlink.Request},
		Data:   append(make([]byte, 4), body...),
	})
	if err != nil {
		return 0, fmt.Errorf("number of a namespace: %w", err)
	}
	for _, m := range msgs {
		ad, err := netlink.NewAttributeDecoder(m.Data[min(4, len(m.Data)):])
		if err != nil {
			return 0, fmt.Errorf("number of a namespace: %w", err)
		}
		for ad.Next() {
			if ad.Type() == unix.NETNSA_NSID {
				return ad.Int32(), ad.Err()
			}
		}
	}
	return 0, errors.New("number of a namespace: none in the answer")
}

// NameOf returns the name in a link's message, "" where there is none.
func NameOf(body []byte) string {
	l, err := decodeLink(body)
	if err != nil {
		return ""
	}
	return l.Name
}
