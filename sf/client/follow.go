package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

const (
	// silence is how long a stream, or a server that is asked for one, may say nothing
	// before it is taken for dead. The server says every 15 s that it lives.
	silence = time.Minute
	// followAttempts is how often in a row a stream is opened in vain. With the
	// pauses that is about two minutes, in which a server may be replaced.
	followAttempts = 30
	// longestPause between two of them.
	longestPause = 5 * time.Second
	// piece is how many events of the past are delivered at a time.
	piece = 256
	// longestLine of a stream, in bytes.
	longestLine = 1 << 20
)

// FollowEvents delivers events as they are recorded, of everything that the client
// may see or of one object, until ctx is done or the caller breaks off. When the
// connection breaks it goes on over a new one, behind the last position: nothing is
// missed, and only pieces of the past can come twice. An error ends it:
// ErrNotFound for an object that is not the client's, ErrUnavailable when the
// server stays away.
func (c *Client) FollowEvents(ctx context.Context, opt spec.FollowOptions) iter.Seq2[*spec.EventBatch, error] {
	return func(yield func(*spec.EventBatch, error) bool) {
		s := &events{c: c, opt: opt, yield: yield}
		if err := s.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

// errEnough ends a stream whose reader has broken off.
var errEnough = errors.New("the reader has had enough")

// events is a stream of events and what is known of it over all connections.
type events struct {
	c        *Client
	opt      spec.FollowOptions // After moves on
	yield    func(*spec.EventBatch, error) bool
	opened   bool // it was, once
	failures int  // in a row
	batch    spec.EventBatch
}

func (s *events) run(ctx context.Context) error {
	for {
		err := s.connect(ctx)
		class := spec.ClassOf(err)
		switch {
		case errors.Is(err, errEnough):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !s.opened, class != nil && class != spec.ErrUnavailable && class != spec.ErrUnauthorized:
			return err
		}
		if s.failures++; s.failures == followAttempts || class == spec.ErrUnauthorized && s.failures > 1 {
			return err
		}
		if err := s.c.cfg.Sleep(ctx, min(time.Duration(s.failures)*200*time.Millisecond, longestPause)); err != nil {
			return err
		}
	}
}

// connect opens the stream at its place and delivers what comes until it ends.
func (s *events) connect(whole context.Context) error {
	ctx, cancel := context.WithCancel(whole)
	defer cancel()
	dead := time.AfterFunc(silence, cancel) // one who never answers too
	defer dead.Stop()
	w, err := withToken(ctx, s.c, func(token string) (*http.Response, error) { return s.open(ctx, token) })
	if reply := (*Error)(nil); errors.As(err, &reply) && reply.Status == http.StatusNotFound && !reply.Told {
		return spec.Errorf(spec.ErrInvalid, "%s has no streams of events, as servers of Shaken Fist 0.2", s.c.cfg.URL)
	}
	if err != nil && ctx.Err() != nil && whole.Err() == nil {
		return spec.Errorf(spec.ErrUnavailable, "no answer from %s within %v", s.c.cfg.URL, silence).Because(err)
	}
	if err != nil {
		return err
	}
	defer w.Body.Close()
	if kind := w.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		return spec.Errorf(spec.ErrInvalid, "the server did not send a stream of events but %q", kind)
	}
	s.opened, s.batch = true, spec.EventBatch{}
	dead.Reset(silence)
	lines := bufio.NewScanner(w.Body)
	lines.Buffer(nil, longestLine)
	var m message
	for lines.Scan() {
		dead.Reset(silence)
		if !m.add(lines.Text()) {
			continue
		}
		if err := s.take(m); err != nil {
			return err
		}
		m, s.failures = message{}, 0
	}
	err = lines.Err()
	if err == nil {
		err = io.EOF
	}
	return spec.Errorf(spec.ErrUnavailable, "the stream of events from %s broke off", s.c.cfg.URL).Because(err)
}

func (s *events) open(ctx context.Context, token string) (*http.Response, error) {
	query := url.Values{}
	if s.opt.Object != "" {
		query.Set("kind", string(s.opt.Kind))
		query.Set("id", s.opt.Object)
	}
	if s.opt.After >= 0 {
		query.Set("after", strconv.FormatInt(s.opt.After, 10))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.c.cfg.URL+"/events?"+query.Encode(), nil)
	if err != nil {
		return nil, spec.Errorf(spec.ErrInvalid, "GET /events").Because(err)
	}
	s.c.setHeader(r.Header, token)
	r.Header.Set("Accept", "text/event-stream")
	return s.c.open(r, http.StatusOK)
}
