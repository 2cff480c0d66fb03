package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// explaining is a listener for TLS whose connections answer who speaks plain HTTP with
// what is wrong.
type explaining struct{ net.Listener }

func (l explaining) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &firstBytes{Conn: c}, nil
}

// firstBytes looks at what a connection begins with.
type firstBytes struct {
	net.Conn
	known bool
}

var errPlain = errors.New("plain HTTP where TLS is spoken")

func (c *firstBytes) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.known || n == 0 {
		return n, err
	}
	c.known = true
	if 'A' <= p[0] && p[0] <= 'Z' { // a method; TLS begins with a number below
		c.explain()
		return 0, errPlain
	}
	return n, err
}

// explain answers, and reads what is still to come, so that the answer is not lost
// with it.
func (c *firstBytes) explain() {
	const most, patience = 64 << 10, time.Second
	body := fmt.Sprintf(`{"error": "this port speaks TLS: say https://%s in the API URL, not http://", "status": 400, "class": "invalid"}`+"\n", c.LocalAddr())
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	if t, ok := c.Conn.(*net.TCPConn); ok {
		t.CloseWrite()
	}
	io.CopyN(io.Discard, c.Conn, most) // an error is the end, or the time's
}
