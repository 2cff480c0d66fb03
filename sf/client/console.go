package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/coder/websocket"
)

// Console opens an instance's serial console, both ways. What a slow reader
// misses is dropped by the server. Reads end with io.EOF when the instance stops;
// they and writes end when ctx does.
func (c *Client) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	return c.connect(ctx, id, "console", "console")
}

// Display opens an instance's screen, which speaks VNC (RFB), as Console does its
// console. What a slow reader does not take waits.
func (c *Client) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	return c.connect(ctx, id, "vdi", "screen")
}

func (c *Client) connect(ctx context.Context, id, what, name string) (io.ReadWriteCloser, error) {
	conn, err := withToken(ctx, c, func(token string) (*websocket.Conn, error) { return c.dial(ctx, id, what, token) })
	if err != nil {
		return nil, err
	}
	return &line{ctx: ctx, conn: conn, name: name}, nil
}

// dial opens a websocket of an instance.
func (c *Client) dial(ctx context.Context, id, what, token string) (*websocket.Conn, error) {
	h := http.Header{}
	c.setHeader(h, token)
	conn, w, err := websocket.Dial(ctx, c.cfg.URL+instances+pathOf(id, what), &websocket.DialOptions{
		HTTPClient: c.cfg.HTTP, HTTPHeader: h,
	})
	if err == nil {
		conn.SetReadLimit(-1)
		return conn, nil
	}
	if w == nil || w.StatusCode == http.StatusSwitchingProtocols {
		return nil, c.broken(ctx, err)
	}
	body, _ := io.ReadAll(w.Body) // Dial has cut it short
	return nil, newError(w.StatusCode, body)
}

// line is a websocket as a stream of bytes. One goroutine may read and others
// write.
type line struct {
	ctx  context.Context
	conn *websocket.Conn
	name string // of what it is to people
	rest []byte // of the last message
}

func (s *line) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		_, message, err := s.conn.Read(s.ctx)
		if err != nil {
			return 0, s.end(err)
		}
		s.rest = message
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *line) end(err error) error {
	var end websocket.CloseError
	switch {
	case !errors.As(err, &end):
		return fmt.Errorf("the %s broke off: %w", s.name, err)
	case end.Code == websocket.StatusNormalClosure:
		return io.EOF
	}
	return fmt.Errorf("the server closed the %s: %s", s.name, end.Reason)
}

func (s *line) Write(p []byte) (int, error) {
	if err := s.conn.Write(s.ctx, websocket.MessageBinary, p); err != nil {
		return 0, s.end(err)
	}
	return len(p), nil
}

// Close hangs up.
func (s *line) Close() error { return s.conn.Close(websocket.StatusNormalClosure, "") }
