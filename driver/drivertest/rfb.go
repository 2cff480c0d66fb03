package drivertest

import (
	"encoding/binary"
	"fmt"
	"image"
	"io"
)

// Screenshot shakes hands with a VNC server at the other end of conn, as one of
// several viewers, and returns what the screen shows: for tests of what lies between.
func Screenshot(conn io.ReadWriter) (image.Image, error) {
	v, err := shake(conn, false)
	if err != nil {
		return nil, err
	}
	picture, err := v.look()
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(picture); i += 4 { // blue, green, red, nothing
		picture[i], picture[i+2], picture[i+3] = picture[i+2], picture[i], 0xff
	}
	return &image.NRGBA{Pix: picture, Stride: 4 * v.width, Rect: image.Rect(0, 0, v.width, v.height)}, nil
}

// Blank reports whether a picture has one colour only.
func Blank(picture image.Image) bool {
	b := picture.Bounds()
	first := picture.At(b.Min.X, b.Min.Y)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if picture.At(x, y) != first {
				return false
			}
		}
	}
	return true
}

// rfb is a viewer that knows just enough of the protocol (RFC 6143) to see what
// is on a screen.
type rfb struct {
	conn          io.ReadWriter
	width, height int
}

// maxPixels bounds what a screen may claim to have.
const maxPixels = 8192 * 8192

// shake does the handshake as a viewer that wants the screen for itself
// (exclusive) or shares it.
func shake(conn io.ReadWriter, exclusive bool) (*rfb, error) {
	v := &rfb{conn: conn}
	version := make([]byte, 12)
	if _, err := io.ReadFull(conn, version); err != nil {
		return nil, fmt.Errorf("version: %w", err)
	}
	if string(version) != "RFB 003.008\n" {
		return nil, fmt.Errorf("version is %q", version)
	}
	if err := v.say(version); err != nil {
		return nil, err
	}
	kinds, err := v.hear(1)
	if err != nil {
		return nil, fmt.Errorf("security: %w", err)
	}
	if kinds, err = v.hear(int(kinds[0])); err != nil || len(kinds) != 1 || kinds[0] != 1 {
		return nil, fmt.Errorf("security types are %v, want 1 (none) alone: %w", kinds, err)
	}
	if err := v.say([]byte{1}); err != nil {
		return nil, err
	}
	if result, err := v.hear(4); err != nil || binary.BigEndian.Uint32(result) != 0 {
		return nil, fmt.Errorf("security result is %v: %w", result, err)
	}
	shared := byte(1)
	if exclusive {
		shared = 0
	}
	if err := v.say([]byte{shared}); err != nil {
		return nil, err
	}
	return v, v.greet()
}

// greet reads what the server says of its screen, and asks for plain pixels.
func (v *rfb) greet() error {
	init, err := v.hear(24)
	if err != nil {
		return fmt.Errorf("screen: %w", err)
	}
	v.width, v.height = int(binary.BigEndian.Uint16(init)), int(binary.BigEndian.Uint16(init[2:]))
	if _, err := v.hear(int(binary.BigEndian.Uint32(init[20:]) & 0xffff)); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if v.width == 0 || v.height == 0 || v.width*v.height > maxPixels {
		return fmt.Errorf("a screen of %d by %d", v.width, v.height)
	}
	return v.say([]byte{
		0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0, // SetPixelFormat: xRGB
		2, 0, 0, 1, 0, 0, 0, 0, // SetEncodings: raw
	})
}

// look returns the screen as it is, four bytes a pixel.
func (v *rfb) look() ([]byte, error) {
	ask := []byte{3, 0, 0, 0, 0, 0}
	ask = binary.BigEndian.AppendUint16(ask, uint16(v.width))
	ask = binary.BigEndian.AppendUint16(ask, uint16(v.height))
	if err := v.say(ask); err != nil {
		return nil, err
	}
	picture := make([]byte, 4*v.width*v.height)
	for {
		kind, err := v.hear(1)
		if err != nil {
			return nil, err
		}
		switch kind[0] {
		case 0:
			return picture, v.update(picture)
		case 2: // a bell
		default:
			return nil, fmt.Errorf("message of type %d", kind[0])
		}
	}
}

// update paints the rectangles of one message.
func (v *rfb) update(picture []byte) error {
	head, err := v.hear(3)
	if err != nil {
		return err
	}
	for range binary.BigEndian.Uint16(head[1:]) {
		r, err := v.hear(12)
		if err != nil {
			return err
		}
		x, y := int(binary.BigEndian.Uint16(r)), int(binary.BigEndian.Uint16(r[2:]))
		w, h := int(binary.BigEndian.Uint16(r[4:])), int(binary.BigEndian.Uint16(r[6:]))
		if encoding := binary.BigEndian.Uint32(r[8:]); encoding != 0 || x+w > v.width || y+h > v.height {
			return fmt.Errorf("rectangle %d,%d %dx%d of encoding %d on %dx%d", x, y, w, h, encoding, v.width, v.height)
		}
		for row := range h {
			at := 4 * ((y+row)*v.width + x)
			if _, err := io.ReadFull(v.conn, picture[at:at+4*w]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *rfb) say(b []byte) error {
	_, err := v.conn.Write(b)
	return err
}

func (v *rfb) hear(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(v.conn, b)
	return b, err
}

// colours counts the different pixels of a picture.
func colours(picture []byte) int {
	seen := map[[3]byte]bool{}
	for ; len(picture) >= 4; picture = picture[4:] {
		seen[[3]byte(picture)] = true
	}
	return len(seen)
}
