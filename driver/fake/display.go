package fake

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/backlog"
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
	in     []byte // said by the viewer and not understood yet
	output *backlog.Backlog
	step   int // of the handshake
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
		s = &screen{m: m, output: backlog.New(&v.host.mu, 0)}
		s.output.Feed([]byte("RFB 003.008\n"))
		m.screens = append(m.screens, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Read waits for what the server says. It ends with io.EOF when the machine is off.
func (s *screen) Read(p []byte) (int, error) { return s.output.Read(p) }

// Write is what the viewer says. A message that VNC does not have ends the viewer.
func (s *screen) Write(p []byte) (int, error) {
	s.m.host.mu.Lock()
	defer s.m.host.mu.Unlock()
	if err := writable(s.output, "screen", s.m); err != nil {
		return 0, err
	}
	s.in = append(s.in, p...)
	for {
		n := s.need()
		if n < 0 {
			s.output.End(io.EOF)
		}
		if n < 0 || len(s.in) < n {
			break
		}
		s.answer(s.in[:n])
		s.in = s.in[n:]
	}
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
		s.output.Feed([]byte{1, 1}) // one security type: none
	case step == 1:
		s.output.Feed(make([]byte, 4))
	case step == 2:
		out := []byte{0, screenWidth, 0, screenHeight, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0}
		out = binary.BigEndian.AppendUint32(out, uint32(len(s.m.spec.Name)))
		s.output.Feed(append(out, s.m.spec.Name...))
	case message[0] == 3:
		s.paint()
	}
}

// paint sends the whole picture, raw: a gradient that depends on the machine.
func (s *screen) paint() {
	out := []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, screenWidth, 0, screenHeight, 0, 0, 0, 0}
	tint := s.m.spec.ID[len(s.m.spec.ID)-1]
	for y := range screenHeight {
		for x := range screenWidth {
			out = append(out, byte(4*x), byte(5*y), tint, 0)
		}
	}
	s.output.Feed(out)
}

// Close ends this viewer alone.
func (s *screen) Close() error {
	s.m.host.mu.Lock()
	defer s.m.host.mu.Unlock()
	s.output.Drop(closed("screen", s.m))
	s.m.screens = slices.DeleteFunc(s.m.screens, func(o *screen) bool { return o == s })
	return nil
}
