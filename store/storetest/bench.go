package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/store"
)

// Bench measures a store that open makes anew for each benchmark: commits of one
// key of 1 KiB alone and by 16 callers, reads, reads while others commit, a list
// of a thousand, and a commit seen by many watches.
func Bench(b *testing.B, open func(b *testing.B) store.Store) {
	b.Run("Commit", func(b *testing.B) {
		s := open(b)
		benchCommits(b, s, 1)
	})
	b.Run("Commit16Callers", func(b *testing.B) {
		s := open(b)
		benchCommits(b, s, 16)
	})
	b.Run("Get", func(b *testing.B) {
		s := filled(b, open)
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(b.Context(), benchKey(i%1000)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("GetDuringCommits", func(b *testing.B) {
		s := filled(b, open)
		stop := commitInBackground(b, s)
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(b.Context(), benchKey(i%1000)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(stop())/float64(b.N)*1000, "commits/1000gets")
	})
	b.Run("List1000", func(b *testing.B) {
		s := filled(b, open)
		for b.Loop() {
			if l, err := s.List(b.Context(), "bench/", store.Page{}); err != nil || len(l.Records) != 1000 {
				b.Fatal(len(l.Records), err)
			}
		}
	})
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("CommitSeenBy%dWatches", n), func(b *testing.B) {
			s := open(b)
			benchWatches(b, s, n)
		})
	}
}

var kilobyte = make([]byte, 1024)

func benchKey(i int) string { return fmt.Sprintf("bench/%04d", i) }

func filled(b *testing.B, open func(b *testing.B) store.Store) store.Store {
	b.Helper()
	s := open(b)
	for i := range 1000 {
		commit(b, s, benchKey(i))
	}
	return s
}

func commit(b *testing.B, s store.Store, key string) {
	if _, err := s.Commit(b.Context(), store.Txn{Do: []store.Op{store.Put(key, kilobyte)}}); err != nil {
		b.Error(err)
	}
}

func benchCommits(b *testing.B, s store.Store, callers int) {
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range callers {
		wg.Go(func() {
			for i := c; i < b.N; i += callers {
				commit(b, s, benchKey(i%1000))
			}
		})
	}
	wg.Wait()
}

// commitInBackground commits until the returned function is called, which says how often.
func commitInBackground(b *testing.B, s store.Store) (stop func() int) {
	ctx, cancel := context.WithCancel(b.Context())
	n, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; n++ {
			commit(b, s, "busy")
		}
	}()
	return func() int {
		cancel()
		<-done
		return n
	}
}

func benchWatches(b *testing.B, s store.Store, n int) {
	commit(b, s, "bench/first")
	l, err := s.List(b.Context(), "", store.Page{})
	if err != nil {
		b.Fatal(err)
	}
	watches := make([]store.Watcher, n)
	for i := range watches {
		if watches[i], err = s.Watch(b.Context(), "bench/", l.Revision); err != nil {
			b.Fatal(err)
		}
		defer watches[i].Close()
	}
	for b.Loop() {
		var wg sync.WaitGroup
		for _, w := range watches {
			wg.Go(func() {
				for {
					batch, err := w.Next(b.Context())
					if err != nil {
						b.Error(err)
						return
					}
					if len(batch.Events) > 0 {
						return
					}
				}
			})
		}
		commit(b, s, "bench/k")
		wg.Wait()
	}
}
