package client

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// message is one server-sent event.
type message struct{ id, event, data string }

// add adds a line, and reports whether it ends a message that says something.
func (m *message) add(line string) (complete bool) {
	if line == "" {
		return *m != message{}
	}
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "id":
		m.id = value
	case "event":
		m.event = value
	case "data":
		m.data += value
	}
	return false // a line without a name says only that the server lives
}

// take deals with a message. Events without an ID belong to the one that has it.
func (s *events) take(m message) error {
	switch m.event {
	case "gap":
		s.batch.Gap = true
		return nil
	case "error":
		var b struct{ Status int }
		if err := json.Unmarshal([]byte(m.data), &b); err != nil {
			return badEvent(err)
		}
		return newError(b.Status, []byte(m.data))
	case "":
	default:
		return nil // of a newer server
	}
	if m.data != "" {
		var r eventRecord
		if err := json.Unmarshal([]byte(m.data), &r); err != nil {
			return badEvent(err)
		}
		s.batch.Events = append(s.batch.Events, r.event())
	}
	if m.id != "" {
		at, err := strconv.ParseInt(m.id, 10, 64)
		if err != nil {
			return badEvent(err)
		}
		s.batch.Position = at
	}
	if m.id == "" && len(s.batch.Events) < piece {
		return nil
	}
	return s.deliver()
}

func (s *events) deliver() error {
	b := s.batch
	s.batch = spec.EventBatch{}
	if !s.yield(&b, nil) {
		return errEnough
	}
	if b.Position != 0 {
		s.opt.After = b.Position
	}
	return nil
}

// badEvent is an error of no class, so that nobody tries the same again.
func badEvent(err error) error {
	return spec.Errorf(spec.ErrInvalid, "GET /events: the answer is not what was expected, is this a Shaken Fist API?").Because(err)
}
