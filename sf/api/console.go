package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/shakenfist/cloud/sf/spec"
)

const (
	// consoleBuffer is how much output a slow viewer may be behind; what is older
	// is dropped, so that nobody waits for a viewer.
	consoleBuffer = 256 << 10
	// keyCheck is how often what is open checks that its key still exists.
	keyCheck = 5 * time.Second
	// screenPatience is how long a viewer of a screen may take nothing of it. Output
	// of a screen cannot be dropped, and one who has died should not be kept.
	screenPatience = time.Minute
	// binary is the subprotocol that viewers in browsers ask for.
	binary = "binary"
)

// line is a way to a machine, both ways, over a websocket with binary messages. It
// ends when the machine stops, when either side hangs up, and soon after the
// caller's key is deleted.
type line struct {
	name string // of what it is to people
	open func(ctx context.Context, id string) (io.ReadWriteCloser, error)
	// send sends what the machine says until one of them ends it. It may close from.
	send func(ctx context.Context, ws *websocket.Conn, from io.ReadCloser) error
}

// console connects the caller to the instance's serial port.
func (q *request) console() (any, error) {
	return q.connect(line{"console", q.cloud.Console, sendConsole})
}

// display connects the caller to the instance's screen, which speaks VNC.
func (q *request) display() (any, error) {
	return q.connect(line{"screen", q.cloud.Display, sendScreen})
}

func (q *request) connect(l line) (any, error) {
	if q.http.Header.Get("Upgrade") == "" {
		return nil, invalid("the " + l.name + " is a websocket: ask for an upgrade of the connection")
	}
	q.doneReading()
	port, err := l.open(q.lasting(), q.instance.UUID)
	if err != nil {
		return nil, or(err, errInstanceNotFound)
	}
	defer port.Close()
	ws, err := websocket.Accept(q.w, q.http, &websocket.AcceptOptions{Subprotocols: []string{binary}})
	if err != nil {
		return streamed(http.StatusBadRequest), nil // Accept has answered
	}
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)

	q.relay(l, ws, port)
	return streamed(http.StatusSwitchingProtocols), nil
}

// relay moves bytes between a viewer and a machine until one of them ends it.
func (q *request) relay(l line, ws *websocket.Conn, port io.ReadWriteCloser) {
	ctx, cancel := context.WithCancelCause(q.ctx()) // which lasts until the server is told to stop
	sending, stop := context.WithCancel(q.lasting())
	var wg sync.WaitGroup
	wg.Go(func() { cancel(l.send(sending, ws, port)) })
	wg.Go(func() { cancel(sendInput(q.lasting(), ws, port)) })
	wg.Go(func() { cancel(q.watchKey(ctx)) })
	<-ctx.Done()
	endLine(l, ws, context.Cause(ctx))
	ws.CloseNow()
	stop()
	port.Close()
	wg.Wait()
}

// errMachineStopped ends a line from the machine's side.
var errMachineStopped = errors.New("the machine stopped")

// endLine tells the viewer why it is over.
func endLine(l line, ws *websocket.Conn, cause error) {
	switch {
	case errors.Is(cause, errMachineStopped):
		ws.Close(websocket.StatusNormalClosure, "the machine stopped")
	case errors.Is(cause, context.Canceled):
		ws.Close(websocket.StatusGoingAway, "the server stops")
	case errors.Is(cause, spec.ErrUnauthorized):
		ws.Close(websocket.StatusPolicyViolation, "the key that opened this "+l.name+" was removed")
	default:
		ws.Close(websocket.StatusNormalClosure, "")
	}
}

// sendConsole sends what a machine writes, as far as the viewer takes it: what a
// slow one misses is dropped.
func sendConsole(ctx context.Context, ws *websocket.Conn, from io.ReadCloser) error {
	behind := newBacklog(consoleBuffer)
	var wg sync.WaitGroup
	wg.Go(func() { behind.fill(from) })
	defer wg.Wait()
	defer from.Close()
	defer context.AfterFunc(ctx, func() { behind.close(context.Cause(ctx)) })()
	for {
		chunk, err := behind.take()
		if len(chunk) > 0 {
			if err := ws.Write(ctx, websocket.MessageBinary, chunk); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// sendScreen sends all that a screen says, no faster than the viewer takes it.
func sendScreen(ctx context.Context, ws *websocket.Conn, from io.ReadCloser) error {
	p := make([]byte, 64<<10)
	for {
		n, err := from.Read(p)
		if n > 0 {
			if err := writeScreen(ctx, ws, p[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return errMachineStopped
		}
		if err != nil {
			return err
		}
	}
}

func writeScreen(ctx context.Context, ws *websocket.Conn, p []byte) error {
	ctx, cancel := context.WithTimeout(ctx, screenPatience)
	defer cancel()
	return ws.Write(ctx, websocket.MessageBinary, p)
}

// sendInput writes what the viewer types to the machine.
func sendInput(ctx context.Context, ws *websocket.Conn, to io.Writer) error {
	for {
		_, typed, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if _, err := to.Write(typed); err != nil {
			return err
		}
	}
}

// watchKey returns when the caller's key is gone.
func (q *request) watchKey(ctx context.Context) error {
	for {
		if err := q.Sleep(ctx, keyCheck); err != nil {
			return err
		}
		if err := q.stillAllowed(); errors.Is(err, spec.ErrUnauthorized) {
			return err
		}
	}
}
