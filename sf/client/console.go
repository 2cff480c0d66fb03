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
	conn, err := withToken(ctx, c, func(token string) (*websocket.Conn, error) { return c.dial(ctx, id, "console", token) })
	if err != nil {
		return nil, err
	}
	return &console{ctx: ctx, conn: conn}, nil
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

// console is a websocket as a stream of bytes. One goroutine may read and others
// write.
type console struct {
	ctx  context.Context
	conn *websocket.Conn
	rest []byte // of the last message
}

func (s *console) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		_, message, err := s.conn.Read(s.ctx)
		if err != nil {
			return 0, consoleEnd(err)
		}
		s.rest = message
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func consoleEnd(err error) error {
	var end websocket.CloseError
	switch {
	case !errors.As(err, &end):
		return fmt.Errorf("the console broke off: %w", err)
	case end.Code == websocket.StatusNormalClosure:
		return io.EOF
	}
	return fmt.Errorf("the server closed the console: %s", end.Reason)
}

func (s *console) Write(p []byte) (int, error) {
	if err := s.conn.Write(s.ctx, websocket.MessageBinary, p); err != nil {
		return 0, consoleEnd(err)
	}
	return len(p), nil
}

// Close hangs up.
func (s *console) Close() error { return s.conn.Close(websocket.StatusNormalClosure, "") }
