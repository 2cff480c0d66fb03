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
	// consoleCheck is how often an open console checks that its key still exists.
	consoleCheck = 5 * time.Second
)

// console connects the caller to the instance's serial port, both ways, over a
// websocket with binary messages. It ends when the machine stops, when either
// side hangs up, and soon after the caller's key is deleted.
func (q *request) console() (any, error) {
	if q.http.Header.Get("Upgrade") == "" {
		return nil, invalid("the console is a websocket: ask for an upgrade of the connection")
	}
	port, err := q.cloud.Console(q.lasting(), q.instance.UUID)
	if err != nil {
		return nil, or(err, errInstanceNotFound)
	}
	defer port.Close()
	ws, err := websocket.Accept(q.w, q.http, nil)
	if err != nil {
		return streamed(http.StatusBadRequest), nil // Accept has answered
	}
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)

	q.relay(ws, port)
	return streamed(http.StatusSwitchingProtocols), nil
}

// relay moves bytes between a viewer and a machine until one of them ends it.
func (q *request) relay(ws *websocket.Conn, port io.ReadWriteCloser) {
	ctx, cancel := context.WithCancelCause(q.ctx()) // which lasts until the server is told to stop
	behind := newBacklog(consoleBuffer)
	var wg sync.WaitGroup
	wg.Go(func() { behind.fill(port) })
	wg.Go(func() { cancel(sendOutput(q.lasting(), ws, behind)) })
	wg.Go(func() { cancel(sendInput(q.lasting(), ws, port)) })
	wg.Go(func() { cancel(q.watchKey(ctx)) })
	<-ctx.Done()
	behind.close(context.Cause(ctx))
	endConsole(ws, context.Cause(ctx))
	ws.CloseNow()
	port.Close()
	wg.Wait()
}

// errMachineStopped ends a console from the machine's side.
var errMachineStopped = errors.New("the machine stopped")

// endConsole tells the viewer why it is over.
func endConsole(ws *websocket.Conn, cause error) {
	switch {
	case errors.Is(cause, errMachineStopped):
		ws.Close(websocket.StatusNormalClosure, "the machine stopped")
	case errors.Is(cause, context.Canceled):
		ws.Close(websocket.StatusGoingAway, "the server stops")
	case errors.Is(cause, spec.ErrUnauthorized):
		ws.Close(websocket.StatusPolicyViolation, "the key that opened this console was removed")
	default:
		ws.Close(websocket.StatusNormalClosure, "")
	}
}

// sendOutput sends what the machine writes, as far as the viewer takes it.
func sendOutput(ctx context.Context, ws *websocket.Conn, from *backlog) error {
	for {
		chunk, err := from.take()
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
		if err := q.Sleep(ctx, consoleCheck); err != nil {
			return err
		}
		if err := q.stillAllowed(); errors.Is(err, spec.ErrUnauthorized) {
			return err
		}
	}
}
