package fake

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/shakenfist/cloud/driver"
)

// Size of a screen in pixels.
const (
	screenWidth  = 64
	screenHeight = 48
)

// maxCutText is how many bytes a viewer may paste.
const maxCutText = 1 << 16

// screen is one viewer of a machine's screen, a VNC server of a fixed picture that
// answers within Write. The Host's lock guards it.
type screen struct {
	m      *machine
	wake   *sync.Cond
	in     []byte // said by the viewer and not understood yet
	out    []byte
	step   int // of the handshake
	ended  bool
	closed bool
}

// Display implements driver.Displayer: the picture of a machine is the same each
// time. ctx bounds the opening only.
func (v *Hypervisor) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	var s *screen
	err := v.with(ctx, "Display", id, func(m *machine) error {
		if !m.status.State.On() {
			return wrongState(m, "show the screen of")
		}
		if m.spec.Video.Model == "none" {
			return fmt.Errorf("fake: machine %s has no screen (video model none): %w", id, driver.ErrInvalid)
		}
		s = &screen{m: m, wake: sync.NewCond(&v.host.mu), out: []byte("RFB 003.008\n")}
		m.screens = append(m.screens, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Read waits for what the server says. It ends with io.EOF when the machine is off.
func (s *screen) Read(p []byte) (int, error) {
	s.wake.L.Lock()
	defer s.wake.L.Unlock()
	for len(s.out) == 0 && !s.ended && !s.closed && len(p) > 0 {
		s.wake.Wait()
	}
	switch {
	case s.closed:
		return 0, fmt.Errorf("fake: screen of %s: %w", s.m.spec.ID, fs.ErrClosed)
	case len(s.out) == 0 && s.ended:
		return 0, io.EOF
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// Write is what the viewer says. A message that VNC does not have ends the viewer.
func (s *screen) Write(p []byte) (int, error) {
	s.wake.L.Lock()
	defer s.wake.L.Unlock()
	if s.closed {
		return 0, fmt.Errorf("fake: screen of %s: %w", s.m.spec.ID, fs.ErrClosed)
	}
	if s.ended {
		return 0, fmt.Errorf("fake: screen of %s: machine is off: %w", s.m.spec.ID, driver.ErrState)
	}
	s.in = append(s.in, p...)
	for {
		n := s.need()
		if n < 0 {
			s.ended = true
		}
		if n < 0 || len(s.in) < n {
			break
		}
		s.answer(s.in[:n])
		s.in = s.in[n:]
	}
	s.wake.Broadcast()
	return len(p), nil
}

// handshake is how long the viewer's first messages are: version, security type,
// and whether it shares the screen.
var handshake = []int{12, 1, 1}

// need is how long the message in s.in is, as far as can be seen.
func (s *screen) need() int {
	if s.step < len(handshake) {
		return handshake[s.step]
	}
	if len(s.in) == 0 {
		return 1
	}
	switch s.in[0] {
	case 0: // pixel format
		return 20
	case 2: // encodings
		if len(s.in) < 4 {
			return 4
		}
		return 4 + 4*int(binary.BigEndian.Uint16(s.in[2:]))
	case 3: // asks for the picture
		return 10
	case 4: // a key
		return 8
	case 5: // the pointer
		return 6
	case 6: // cut text
		if len(s.in) < 8 {
			return 8
		}
		if n := binary.BigEndian.Uint32(s.in[4:]); n <= maxCutText {
			return 8 + int(n)
		}
	}
	return -1
}

func (s *screen) answer(message []byte) {
	step := s.step
	s.step = min(s.step+1, len(handshake))
	switch {
	case step == 0:
		s.out = append(s.out, 1, 1) // one security type: none
	case step == 1:
		s.out = append(s.out, 0, 0, 0, 0)
	case step == 2:
		s.out = append(s.out, 0, screenWidth, 0, screenHeight,
			32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0)
		s.out = binary.BigEndian.AppendUint32(s.out, uint32(len(s.m.spec.Name)))
		s.out = append(s.out, s.m.spec.Name...)
	case message[0] == 3:
		s.paint()
	}
}

// paint sends the whole picture, raw: a gradient that depends on the machine.
func (s *screen) paint() {
	s.out = append(s.out, 0, 0, 0, 1, 0, 0, 0, 0, 0, screenWidth, 0, screenHeight, 0, 0, 0, 0)
	tint := s.m.spec.ID[len(s.m.spec.ID)-1]
	for y := range screenHeight {
		for x := range screenWidth {
			s.out = append(s.out, byte(4*x), byte(5*y), tint, 0)
		}
	}
}

// Close ends this viewer alone.
func (s *screen) Close() error {
	s.wake.L.Lock()
	defer s.wake.L.Unlock()
	s.closed = true
	s.m.screens = slices.DeleteFunc(s.m.screens, func(o *screen) bool { return o == s })
	s.wake.Broadcast()
	return nil
}
