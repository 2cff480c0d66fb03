package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxMessage bounds one message in bytes, so that a rogue emulator cannot make
// its controller run out of memory.
const maxMessage = 4 << 20

// ErrClosed: the connection ended before the reply came. Whether the command was
// carried out is unknown.
var ErrClosed = errors.New("qmp: connection closed")

// Client is one connection. Its methods are safe for concurrent use.
type Client struct {
	conn    net.Conn
	onEvent func(Event)
	done    chan struct{}

	write   sync.Mutex // serialises whole requests
	mu      sync.Mutex
	id      uint64
	waiting map[uint64]chan message
}

// Connect greets QEMU over conn, which it owns from now on, and returns a client
// ready for commands. onEvent is called for every event from the goroutine that
// reads; it must return soon and must not call the client.
func Connect(ctx context.Context, conn net.Conn, onEvent func(Event)) (*Client, error) {
	c := &Client{conn: conn, onEvent: onEvent, done: make(chan struct{}), waiting: map[uint64]chan message{}}
	scan := bufio.NewScanner(conn)
	scan.Buffer(make([]byte, 0, 4096), maxMessage)
	if err := c.greeting(ctx, scan); err != nil {
		conn.Close()
		return nil, err
	}
	go c.read(scan)
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// greeting waits for QEMU's first line, as long as ctx lasts.
func (c *Client) greeting(ctx context.Context, scan *bufio.Scanner) error {
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	ok := scan.Scan()
	if !stop() {
		return fmt.Errorf("qmp: waiting for the greeting: %w", ctx.Err())
	}
	if !ok {
		return fmt.Errorf("qmp: waiting for the greeting: %w", orEOF(scan.Err()))
	}
	m, err := parse(scan.Bytes())
	if err == nil && m.Greeting == nil {
		err = fmt.Errorf("qmp: no greeting but %.80q", scan.Text())
	}
	return err
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// read hands out replies and events until the connection ends.
func (c *Client) read(scan *bufio.Scanner) {
	defer close(c.done)
	defer c.conn.Close()
	for scan.Scan() {
		m, err := parse(scan.Bytes())
		if err != nil {
			return // out of step: nothing that follows can be trusted
		}
		if m.Event != "" {
			c.onEvent(m.event())
			continue
		}
		c.mu.Lock()
		reply := c.waiting[m.ID]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		if reply != nil {
			reply <- m
		}
	}
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection and waits for its reader. The machine runs on.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Execute runs one command and decodes its return value into reply (nil drops
// it). Its errors are *Error where QEMU refused, ErrClosed, or ctx's.
func (c *Client) Execute(ctx context.Context, command string, args, reply any) error {
	return c.ExecuteFile(ctx, command, args, reply, nil)
}

// ExecuteFile is Execute of a command that takes a file ("getfd", "add-fd"), which
// is passed along and stays the caller's to close. The connection must be a
// *net.UnixConn.
func (c *Client) ExecuteFile(ctx context.Context, command string, args, reply any, f *os.File) error {
	answer := make(chan message, 1)
	c.mu.Lock()
	c.id++
	id := c.id
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	if err := c.send(ctx, request{Execute: command, Arguments: args, ID: id}, f); err != nil {
		return fmt.Errorf("qmp: %s: %w", command, err)
	}
	select {
	case m := <-answer:
		return decode(command, m, reply)
	case <-c.done:
	case <-ctx.Done():
		return fmt.Errorf("qmp: %s: %w", command, ctx.Err())
	}
	select { // the reply may have come just before the end
	case m := <-answer:
		return decode(command, m, reply)
	default:
		return fmt.Errorf("qmp: %s: %w", command, ErrClosed)
	}
}

func (c *Client) send(ctx context.Context, r request, f *os.File) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	c.write.Lock()
	defer c.write.Unlock()
	deadline, _ := ctx.Deadline() // a zero one means none
	c.conn.SetWriteDeadline(deadline)
	line = append(line, '\n')
	if f == nil {
		_, err = c.conn.Write(line)
	} else {
		err = sendFile(c.conn, line, f)
	}
	if err != nil {
		c.conn.Close() // half a request may be out
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

func decode(command string, m message, reply any) error {
	if m.Error != nil {
		return &Error{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, reply); err != nil {
		return fmt.Errorf("qmp: %s: bad return: %w", command, err)
	}
	return nil
}
