// Package etcd is a store.Store in an etcd cluster, for a cloud of many machines.
// It works with etcd 3.4, 3.5 and 3.6.
//
// Every call has a deadline, the caller's or Config.Timeout, whichever is sooner. What may be
// repeated (reads, renewals, compaction) is asked of another member when one
// does not answer; a commit never is: when its reply is lost, it says
// store.ErrUnknownOutcome, and only when etcd can't have carried it out anything else.
//
// A session is a lease. Nothing renews it but its owner's Renew, so a program
// that hangs loses it.
//
// A watch has one goroutine, which waits for the server, holds at most one
// response of it and ends with the watch. While nobody calls Next the server is
// not read from, and holds back; it needs no memory for that either, since it
// reads history again. When a member dies, pauses or loses its leader, the watch
// resumes at another one from where it was; it ends with store.ErrCompacted when
// history from there is gone.
//
// An etcd that was restored from a backup is at an earlier revision than it was, and may
// reach the same ones again with other content. The first read that finds this out ends all watches
// with store.ErrCompacted.
//
// Revisions are etcd's. Where others write to the same etcd, they are
// not consecutive for this store, and Compact is for all of them.
//
// # Versions of etcd
//
// Progress marks of etcd before 3.4.25 and 3.5.8 can overtake events. A watch
// finds that out when it opens, and then follows all of the store's
// keys, whatever its prefix, since what it sees of others' changes is a mark that can be trusted.
// Members before 3.4.31 and 3.5.13 may, after a pause in which they lost the
// lead, end sessions that were renewed meanwhile. Large clouds want newer ones for both.
package etcd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/shakenfist/cloud/store"
)

// DefaultTimeout bounds a call where Config.Timeout is zero.
const DefaultTimeout = 6 * time.Second

// maxPrefix keeps the largest transaction below what etcd accepts by default.
const maxPrefix = 256

// Window of unread data per stream, in bytes. Being fixed it bounds what a watch
// that nobody reads keeps in memory.
const streamWindow = 1 << 20

// reconnect is how soon a member that was away is tried again. What gRPC does by itself
// could leave a cloud without its store for two minutes after etcd is back.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
	MinConnectTimeout: 3 * time.Second,
}

// Config of a store. Endpoints are required, everything else may be zero.
type Config struct {
	// Endpoints are the members, as http://host:2379, or https:// with TLS. Name all
	// of them, so that one may be lost.
	Endpoints []string
	// TLS is how members prove who they are, and with a certificate in it who we
	// are. Nil with an https endpoint trusts what the system trusts.
	TLS *tls.Config
	// Username and Password are for an etcd with authentication switched on. The user
	// needs to read and write the keys below Prefix.
	Username, Password string
	// Secret, where it is set, is asked for the password at each login, instead of
	// Password: one that is changed in etcd is then changed here without opening anew.
	Secret func() (string, error)
	// Prefix is put in front of every key, at most 256 bytes, ending in a slash by
	// custom. Empty takes all of etcd.
	Prefix string
	// Timeout bounds each request, retries included. 0 is DefaultTimeout.
	Timeout time.Duration
	// Logger tells of watches that had to be resumed. Nil discards.
	Logger *slog.Logger
}

// Open connects to a cluster, and returns when it has answered once. Its error is
// ErrNoAnswer when no member did, else about a name, a certificate, a password or
// a permission.
func Open(ctx context.Context, c Config) (store.Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := open(c)
	if err != nil {
		return nil, fmt.Errorf("etcd: open %s: %w", strings.Join(c.Endpoints, ", "), why(ctx, c, err))
	}
	if _, err := s.List(ctx, "", store.Page{Limit: 1}); err != nil {
		s.Close()
		return nil, fmt.Errorf("etcd: open %s: %w", strings.Join(c.Endpoints, ", "), why(ctx, c, err))
	}
	return s, nil
}

// client is a store.Store.
type client struct {
	etcd    *clientv3.Client
	prefix  string
	timeout time.Duration
	log     *slog.Logger

	ctx    context.Context // ends with the store
	cancel context.CancelFunc
	pumps  sync.WaitGroup // the watches' goroutines
	coarse atomic.Bool    // some member's progress marks can't be trusted; see watcher.follow

	seen     atomic.Int64 // the highest revision that any call has told
	mu       sync.Mutex   // guards watchers, and that none starts once ctx has ended
	watchers map[*watcher]struct{}
}

func open(c Config) (*client, error) {
	if err := checkEndpoints(c); err != nil {
		return nil, err
	}
	if len(c.Prefix) > maxPrefix {
		return nil, fmt.Errorf("%w: prefix of %d bytes, at most %d", store.ErrInvalid, len(c.Prefix), maxPrefix)
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Secret == nil {
		c.Secret = func() (string, error) { return c.Password, nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints, TLS: c.TLS,
		Context: ctx, DialTimeout: c.Timeout,
		// A connection that is cut without a word is found dead in so long; etcd allows
		// no shorter times. Until then it costs its calls their deadline.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		Logger: zap.NewNop(),
		DialOptions: append((&tokens{user: c.Username, password: c.Secret}).options(),
			grpc.WithStatsHandler(tracker{}),
			grpc.WithInitialWindowSize(streamWindow),
			grpc.WithInitialConnWindowSize(8*streamWindow),
			grpc.WithConnectParams(reconnect),
		),
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return &client{
		etcd: etcd, prefix: c.Prefix, timeout: c.Timeout, log: c.Logger,
		ctx: ctx, cancel: cancel, watchers: map[*watcher]struct{}{},
	}, nil
}

// Close implements store.Store. Closing twice is nil.
func (s *client) Close() error {
	s.mu.Lock()
	was := s.ctx.Err()
	s.cancel()
	s.mu.Unlock()
	s.pumps.Wait()
	if was != nil {
		return nil
	}
	s.etcd.Close() // its error is that of the context that was just cancelled
	return nil
}

// usable is the error of a call that need not begin.
func (s *client) usable(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	return ctx.Err()
}

// saw notes that revision r exists, so that watches that wait ask for a mark. before is
// what was known to exist when the question was asked to which r is the answer: one that
// is older is of a store with another history.
func (s *client) saw(before, r int64) {
	if r < before {
		s.rewound(before, r)
		return
	}
	for {
		old := s.seen.Load()
		if r <= old {
			return
		}
		if s.seen.CompareAndSwap(old, r) {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// rewound ends all watches, since what they wait for may never come.
func (s *client) rewound(before, r int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.Load() < before {
		return // somebody else has found it out
	}
	s.log.Error("etcd was restored from a backup: what it says is read anew", "revision", r, "was", before)
	s.seen.Store(r)
	for w := range s.watchers {
		w.rewind()
	}
}
