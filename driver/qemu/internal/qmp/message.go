// Package qmp speaks the QEMU Machine Protocol: JSON commands with replies and
// events over a stream, one message a line.
package qmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Event is something QEMU said unasked.
type Event struct {
	Name string
	Data json.RawMessage // the event's members as a JSON object, or nil
	Time time.Time       // by QEMU's clock; zero if it did not say
}

// Error is QEMU's refusal of a command.
type Error struct {
	Command string
	Class   string // "GenericError", "CommandNotFound", …
	Desc    string // for people
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("qmp: %s: %s", e.Command, e.Desc) }

// message is any one line from QEMU.
type message struct {
	Greeting *json.RawMessage `json:"QMP"`
	Event    string           `json:"event"`
	Data     json.RawMessage  `json:"data"`
	Stamp    *struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
	ID     uint64          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// errShape: valid JSON that is no message of the protocol.
var errShape = errors.New("neither greeting, event, return nor error")

func parse(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("qmp: bad message: %w", err)
	}
	if m.Greeting == nil && m.Event == "" && m.Return == nil && m.Error == nil {
		return message{}, fmt.Errorf("qmp: bad message: %w", errShape)
	}
	return m, nil
}

func (m message) event() Event {
	e := Event{Name: m.Event, Data: m.Data}
	// QEMU sends -1 where it does not know the time.
	if m.Stamp != nil && m.Stamp.Seconds > 0 {
		e.Time = time.Unix(m.Stamp.Seconds, m.Stamp.Microseconds*1000)
	}
	return e
}

type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}
