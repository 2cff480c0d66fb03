package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`

// server answers each command with what answer returns, QEMU's way; an empty
// answer says nothing.
func server(t *testing.T, answer func(command string, id uint64) string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	go func() {
		fmt.Fprintf(theirs, "%s\r\n", greeting)
		scan := bufio.NewScanner(theirs)
		for scan.Scan() {
			var r request
			if json.Unmarshal(scan.Bytes(), &r) != nil {
				return
			}
			reply := fmt.Sprintf(`{"return": {}, "id": %d}`, r.ID)
			if r.Execute != "qmp_capabilities" {
				reply = answer(r.Execute, r.ID)
			}
			if reply != "" {
				fmt.Fprintf(theirs, "%s\r\n", reply)
			}
		}
	}()
	return ours
}

func TestExecute(t *testing.T) {
	events := make(chan Event, 10)
	c, err := Connect(t.Context(), server(t, func(command string, id uint64) string {
		switch command {
		case "query-status":
			return `{"timestamp": {"seconds": 7, "microseconds": 5}, "event": "STOP"}` + "\r\n" +
				fmt.Sprintf(`{"return": {"status": "paused"}, "id": %d}`, id)
		default:
			return fmt.Sprintf(`{"id": %d, "error": {"class": "CommandNotFound", "desc": "no such"}}`, id)
		}
	}), func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var reply struct{ Status string }
	if err := c.Execute(t.Context(), "query-status", nil, &reply); err != nil || reply.Status != "paused" {
		t.Fatalf("reply %+v, %v", reply, err)
	}
	if e := <-events; e.Name != "STOP" || e.Time.Unix() != 7 || e.Time.Nanosecond() != 5000 {
		t.Fatalf("event %+v", e)
	}
	var refused *Error
	if err := c.Execute(t.Context(), "nonsense", nil, nil); !errors.As(err, &refused) || refused.Class != "CommandNotFound" {
		t.Fatalf("refusal: %v", err)
	}
}

func TestSilence(t *testing.T) {
	c, err := Connect(t.Context(), server(t, func(string, uint64) string { return "" }), func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Execute(ctx, "stop", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("a silent emulator: %v", err)
	}
	errs := make(chan error)
	go func() { errs <- c.Execute(t.Context(), "stop", nil, nil) }()
	c.Close()
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Fatalf("closed while waiting: %v", err)
	}
	if len(c.waiting) != 0 {
		t.Fatalf("%d replies still awaited", len(c.waiting))
	}
}

func TestNoGreeting(t *testing.T) {
	for name, first := range map[string]string{
		"not JSON": "hello\n", "an event": `{"event": "STOP"}` + "\n", "the end": "",
		"no newline for ever": strings.Repeat("x", maxMessage+1),
	} {
		ours, theirs := net.Pipe()
		go func() { io.WriteString(theirs, first); theirs.Close() }()
		if _, err := Connect(t.Context(), ours, nil); err == nil {
			t.Errorf("%s was taken for a greeting", name)
		}
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, ours, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("silence instead of a greeting: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(greeting))
	f.Add([]byte(`{"return": {}, "id": 1}`))
	f.Add([]byte(`{"id": 2, "error": {"class": "GenericError", "desc": "no"}}`))
	f.Add([]byte(`{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parse(line)
		if err != nil {
			return
		}
		if e := m.event(); m.Event != e.Name || e.Time.Unix() < 0 && !e.Time.IsZero() {
			t.Fatalf("event %+v of %q", e, line)
		}
		_ = decode("x", m, new(any))
	})
}
