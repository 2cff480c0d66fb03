package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/shakenfist/cloud/store"
)

// pageSize is how many records one request of a List asks for, so that no answer
// is huge. It is a variable so that tests need not write so many.
var pageSize = 1000

// Get implements store.Store.
func (s *client) Get(ctx context.Context, key string) (store.Record, error) {
	if key == "" {
		if err := s.usable(ctx); err != nil {
			return store.Record{}, err
		}
		return store.Record{}, fmt.Errorf("%w: %q", store.ErrNotFound, key)
	}
	r, err := s.fetch(ctx, s.prefix+key)
	if err != nil {
		return store.Record{}, fmt.Errorf("etcd: get %q: %w", key, err)
	}
	if len(r.Kvs) == 0 {
		return store.Record{}, fmt.Errorf("%w: %q", store.ErrNotFound, key)
	}
	return s.record(r.Kvs[0]), nil
}

// fetch is one linearizable range request.
func (s *client) fetch(ctx context.Context, key string, o ...clientv3.OpOption) (r *clientv3.GetResponse, err error) {
	before := s.seen.Load()
	err = s.repeat(ctx, func(ctx context.Context) (err error) {
		r, err = s.etcd.Get(ctx, key, o...)
		return err
	})
	if err == nil {
		s.saw(before, r.Header.Revision)
	}
	return r, err
}

func (s *client) record(kv *mvccpb.KeyValue) store.Record {
	return store.Record{
		Key: string(kv.Key[len(s.prefix):]), Value: kv.Value,
		Revision: store.Revision(kv.ModRevision), Session: store.SessionID(kv.Lease),
	}
}

// List implements store.Store.
func (s *client) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	for {
		l, err := s.list(ctx, prefix, page)
		if page.At == 0 && errors.Is(err, store.ErrCompacted) {
			continue // the newest snapshot grew old between two requests
		}
		if err != nil {
			return store.List{}, fmt.Errorf("etcd: list %q: %w", prefix, err)
		}
		return l, nil
	}
}

func (s *client) list(ctx context.Context, prefix string, page store.Page) (l store.List, err error) {
	from, end := s.interval(prefix)
	if after := s.prefix + page.After + "\x00"; page.After != "" && after > from {
		from = after
	}
	l.Records, l.Revision = page.Into[:0], page.At
	for {
		limit := pageSize
		if page.Limit > 0 {
			limit = min(limit, page.Limit-len(l.Records))
		}
		r, err := s.fetch(ctx, from, clientv3.WithRange(end), clientv3.WithRev(int64(l.Revision)), clientv3.WithLimit(int64(limit)))
		if err != nil {
			return l, err
		}
		if l.Revision == 0 {
			l.Revision = store.Revision(r.Header.Revision)
		}
		for _, kv := range r.Kvs {
			l.Records = append(l.Records, s.record(kv))
		}
		l.More = r.More
		if !r.More || len(l.Records) == page.Limit {
			return l, nil
		}
		from = s.prefix + l.Records[len(l.Records)-1].Key + "\x00"
	}
}

// interval is etcd's [from, end) of the keys that start with prefix; an end of
// "\x00" is behind all keys.
func (s *client) interval(prefix string) (from, end string) {
	from = s.prefix + prefix
	if from == "" {
		return "\x00", "\x00"
	}
	return from, clientv3.GetPrefixRangeEnd(from)
}

// Compact implements store.Store.
func (s *client) Compact(ctx context.Context, r store.Revision) error {
	err := s.repeat(ctx, func(ctx context.Context) error {
		_, err := s.etcd.Compact(ctx, int64(r))
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("etcd: compact before revision %d: %w", r, err)
	}
	return nil
}
