package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/shakenfist/cloud/store"
)

// compactKey has the time of the last compaction, and as its own revision where the next one
// goes. It is beside the cloud's keys.
const compactKey = "!compacted"

// keepStore does what a store needs beside a cloud, until it is stopped: one in etcd
// has to be compacted.
func keepStore(c *config, s store.Store, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	if c.shared() && c.etcd.retention > 0 {
		go keepCompact(ctx, s, c.etcd.retention, log)
	}
	return cancel
}

// keepCompact forgets a shared store's history older than retention, now and then,
// until ctx is done. Every node tries; one of them gets the turn.
func keepCompact(ctx context.Context, s store.Store, retention time.Duration, log *slog.Logger) {
	ticker := time.NewTicker(max(retention/4, time.Second))
	defer ticker.Stop()
	for {
		did, err := compactTurn(ctx, s, retention, time.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Warn("the store's history was not compacted", "error", err)
		case did:
			log.Debug("compacted the store's history")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// compactTurn compacts up to the last turn, if that was retention ago and nobody
// else is quicker.
func compactTurn(ctx context.Context, s store.Store, retention time.Duration, now time.Time) (did bool, err error) {
	value, err := now.UTC().MarshalText()
	if err != nil {
		return false, err
	}
	txn := store.Txn{If: []store.Cond{store.Absent(compactKey)}, Do: []store.Op{store.Put(compactKey, value)}}
	last, err := s.Get(ctx, compactKey)
	first := errors.Is(err, store.ErrNotFound)
	if err != nil && !first {
		return false, err
	}
	if !first {
		var at time.Time
		if err := at.UnmarshalText(last.Value); err != nil {
			return false, fmt.Errorf("key %q: %w: delete it", compactKey, err)
		}
		if now.Sub(at) < retention {
			return false, nil
		}
		txn.If[0] = store.RevisionIs(compactKey, last.Revision)
	}
	_, err = s.Commit(ctx, txn)
	if errors.Is(err, store.ErrConflict) {
		return false, nil // another's turn
	}
	if err != nil || first {
		return false, err
	}
	return true, s.Compact(ctx, last.Revision)
}
