package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/shakenfist/cloud/sf"
)

// Config says how to serve. The zero Config works.
type Config struct {
	// Secret signs tokens. Servers that share it accept each other's tokens.
	// Empty makes one from the system's randomness, so that tokens die with the
	// process.
	Secret []byte
	// Logger gets one line for each request and the cause of every internal
	// error; secrets, tokens and bodies are never logged. Nil discards.
	Logger *slog.Logger
	// Timeout is the longest that a create, a delete or a power call waits for
	// its end; 0 is 600 s. A wait that times out is answered with 504, and what
	// was asked for goes on.
	Timeout time.Duration
	// Relay carries requests to the other nodes of the cloud; nil answers with 503
	// what only they can.
	Relay Relay
	// TokenLife is how long a token is good for; 0 is 15 minutes.
	TokenLife time.Duration
	// MaxBody is the most bytes a request's body may have; 0 is 4 MiB.
	MaxBody int64

	// Gauges tells what /metrics shows of the host and the process besides what the
	// API knows itself; nil shows nothing.
	Gauges func() []Gauge
	// Stopping is done when the server is about to stop: event streams and GETs that
	// wait for a change end then, so that nobody waits for them. Nil never is.
	Stopping context.Context

	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Sleep waits for d or until ctx is done, and returns ctx's error then; nil
	// uses a timer. It delays answers to wrong secrets, and paces the checks of
	// whether an open console is still allowed.
	Sleep func(ctx context.Context, d time.Duration) error
	// NewID makes a unique ID for a request or a token; nil makes a random UUID.
	NewID func() string
}

func (c Config) withDefaults() Config {
	if len(c.Secret) == 0 {
		c.Secret = make([]byte, 32)
		rand.Read(c.Secret) // never fails
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = 600 * time.Second
	}
	if c.TokenLife == 0 {
		c.TokenLife = 15 * time.Minute
	}
	if c.MaxBody == 0 {
		c.MaxBody = 4 << 20
	}
	if c.Stopping == nil {
		c.Stopping = context.Background()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.NewID == nil {
		c.NewID = newID
	}
	return c
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// server is the handler.
type server struct {
	Config
	cloud    cloud
	mux      *http.ServeMux
	tokens   *tokens
	throttle *throttle
	logins   *gate // by address
	bodies   *gate // large ones
	meter    *meter
	stopping context.Context
	owners   *memory[string]        // namespaces of objects, by kind and ID
	encoded  *memory[encodedRecord] // instances as JSON, by UUID
	document func() (any, error)    // of the API, see openapi.go
}

// New returns the API of a cloud. The cloud stays the caller's to close, after
// the server that uses the handler has been shut down.
func New(c *sf.Cloud, cfg Config) http.Handler { return newServer(c, cfg) }

func newServer(c cloud, cfg Config) *server {
	s := &server{Config: cfg.withDefaults(), cloud: c}
	table := routes()
	s.mux = newMux(s, table)
	s.document = sync.OnceValues(func() (any, error) {
		b, err := encode(newDocument(table))
		return raw(b), err
	})
	s.tokens = newTokens(s.Config)
	s.throttle = newThrottle(s.Config.Now)
	s.logins, s.bodies = newGate(loginsEach), newGate(largeBodies)
	s.meter = newMeter()
	s.stopping, s.owners = s.Stopping, newMemory[string](4096)
	s.encoded = newMemory[encodedRecord](32 << 10)
	return s
}
