package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

const (
	typeEvents = "text/event-stream"
	// heartbeat is how often a stream on which nothing happens says that it lives.
	heartbeat = 15 * time.Second
	// streamPatience is how long a reader may take nothing before it is hung up on.
	streamPatience = time.Minute
)

// follow streams events as they are recorded, as server-sent events. An ID is a
// place in the cloud's history, which outlives connections and servers: a reader
// that sends it back as Last-Event-ID goes on behind it. Only the last event of a
// commit has one, so that no reader goes on in the middle of a commit.
func (q *request) follow() (any, error) {
	opt, err := q.followed()
	if err != nil {
		return nil, err
	}
	q.doneReading()
	ctx, cancel := context.WithCancelCause(q.ctx())
	defer cancel(nil)
	defer context.AfterFunc(q.stopping, func() { cancel(errServerStops) })()
	s := &eventStream{q: q, connection: http.NewResponseController(q.w)}
	defer s.connection.SetWriteDeadline(time.Time{}) // the connection may go on to serve others
	// Who begins now gets the answer's header with the place where they begin: what
	// happens once they have it is delivered to them.
	if opt.After >= 0 {
		if err := s.write(""); err != nil {
			return streamed(statusGone), nil
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { cancel(s.keepAlive(ctx)) })
	defer wg.Wait()
	defer cancel(nil)
	for b, err := range q.cloud.FollowEvents(ctx, opt) {
		if err == nil {
			err = s.batch(ctx, b)
		}
		if err == nil {
			continue
		}
		if !s.hasBegun() { // nothing was promised yet
			return nil, s.because(ctx, err)
		}
		s.farewell(ctx, err)
		break
	}
	return streamed(http.StatusOK), nil
}

var errServerStops = spec.Errorf(spec.ErrUnavailable, "the server stops")

// followed reads what is to be followed: ?kind= and ?id= name an object, which has
// to be the caller's; without, it is everything that is.
func (q *request) followed() (opt sf.FollowOptions, err error) {
	query := q.http.URL.Query()
	opt = sf.FollowOptions{Kind: spec.Kind(query.Get("kind")), Object: query.Get("id"), After: -1}
	switch opt.Kind {
	case "":
		if opt.Object != "" {
			return opt, invalid("an id needs a kind: instance, network, interface, snapshot, namespace or node")
		}
	case spec.KindInstance, spec.KindNetwork, spec.KindInterface, spec.KindSnapshot, spec.KindNamespace, spec.KindNode:
		if opt.Object == "" {
			return opt, invalid("a kind needs an id")
		}
		switch mine, err := q.concerns(q.ctx(), opt.Kind, opt.Object); {
		case err != nil:
			return opt, err
		case !mine:
			return opt, notFound(string(opt.Kind) + " not found")
		}
	default:
		return opt, invalid(fmt.Sprintf("kind should be instance, network, interface, snapshot, namespace or node, not %q", opt.Kind))
	}
	from := q.http.Header.Get("Last-Event-ID")
	if from == "" {
		from = query.Get("after")
	}
	if from != "" {
		if opt.After, err = strconv.ParseInt(from, 10, 64); err != nil || opt.After < 0 {
			return opt, invalid(fmt.Sprintf("after (or Last-Event-ID) should be the id of an event that was received, not %q", from))
		}
	}
	return opt, nil
}

// concerns reports whether the caller may know what happens to an object. An
// object's namespace never changes, so it is remembered.
func (q *request) concerns(ctx context.Context, kind spec.Kind, id string) (bool, error) {
	key := string(kind) + "/" + id
	owner, ok := q.owners.get(key)
	if !ok {
		var err error
		if owner, err = q.ownerOf(ctx, kind, id); errors.Is(err, spec.ErrNotFound) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		q.owners.put(key, owner)
	}
	return q.owns(owner), nil
}

// ownerOf is the namespace of an object; of what belongs to the cloud itself, "".
func (q *request) ownerOf(ctx context.Context, kind spec.Kind, id string) (string, error) {
	switch kind {
	case spec.KindInstance:
		if i, err := q.cloud.Instance(ctx, id); err == nil {
			return i.Namespace, nil
		} else {
			return "", err
		}
	case spec.KindNetwork:
		if n, err := q.cloud.Network(ctx, id); err == nil {
			return n.Namespace, nil
		} else {
			return "", err
		}
	case spec.KindInterface:
		if n, err := q.cloud.Interface(ctx, id); err == nil {
			return n.Namespace, nil
		} else {
			return "", err
		}
	case spec.KindSnapshot:
		if s, err := q.cloud.SnapshotByID(ctx, id); err == nil {
			return s.Namespace, nil
		} else {
			return "", err
		}
	case spec.KindNamespace:
		return id, nil
	}
	return "", nil
}

// eventStream writes to one reader.
type eventStream struct {
	q          *request
	connection *http.ResponseController

	mu    sync.Mutex
	begun bool
}

// write sends text at once, the header first. A reader who takes nothing for long is
// hung up on.
func (s *eventStream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		s.begun = true
		h := s.q.w.Header()
		h.Set("Content-Type", typeEvents)
		h.Set("Cache-Control", "no-store")
		s.q.w.WriteHeader(http.StatusOK)
		text = ": events follow\n\n" + text
	}
	s.connection.SetWriteDeadline(time.Now().Add(streamPatience)) // where there is a connection
	if _, err := s.q.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.connection.Flush()
}

// batch sends the events of a commit that concern the reader.
func (s *eventStream) batch(ctx context.Context, b *sf.EventBatch) error {
	var out strings.Builder
	if b.Gap {
		out.WriteString("event: gap\ndata: {}\n\n")
	}
	var mine []*spec.Event
	for _, e := range b.Events {
		ok := s.q.isAdmin()
		if !ok {
			var err error
			if ok, err = s.q.concerns(ctx, e.Kind, e.Object); err != nil {
				return err
			}
		}
		if ok {
			mine = append(mine, e)
		}
	}
	for n, e := range mine {
		data, err := encode(wireEvent(e))
		if err != nil {
			return err
		}
		if n == len(mine)-1 && b.Position != 0 {
			fmt.Fprintf(&out, "id: %d\n", b.Position)
		}
		fmt.Fprintf(&out, "data: %s\n", data) // which ends in a newline, so an empty line follows
	}
	if len(mine) == 0 && b.Position != 0 {
		fmt.Fprintf(&out, "id: %d\n\n", b.Position) // no event, but a place to go on from
	}
	return s.write(out.String())
}

// keepAlive says now and then that the stream lives, and ends it when the caller's
// key is gone.
func (s *eventStream) keepAlive(ctx context.Context) error {
	for {
		if err := s.q.Sleep(ctx, heartbeat); err != nil {
			return err
		}
		if err := s.q.stillAllowed(); errors.Is(err, spec.ErrUnauthorized) {
			return err
		}
		if !s.hasBegun() {
			continue // a sign of life is not the answer
		}
		if err := s.write(":\n\n"); err != nil {
			return err
		}
	}
}

func (s *eventStream) hasBegun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// because is why the stream ends that ended with err.
func (s *eventStream) because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// farewell tells the reader why the stream ends, where it is still there.
func (s *eventStream) farewell(ctx context.Context, err error) {
	if s.q.ctx().Err() != nil {
		return
	}
	data, _ := encode(s.q.describe(s.because(ctx, err))) // strings and a number
	s.write("event: error\ndata: " + string(data) + "\n")
}
