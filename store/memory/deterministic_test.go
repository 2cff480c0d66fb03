package memory_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// transcript is everything that a run of calls drawn from a seed returned, in the
// order in which it came.
func transcript(t *testing.T, seed uint64) string {
	t.Helper()
	var out strings.Builder
	rng := rand.New(rand.NewPCG(seed, 0))
	c := &clock{now: time.Unix(1, 0)}
	s := memory.New(memory.Config{Now: c.Now})
	defer s.Close()
	w, err := s.Watch(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	var sessions []store.Session
	for range 500 {
		key := fmt.Sprintf("%d/%d", rng.IntN(4), rng.IntN(30))
		switch rng.IntN(8) {
		case 0:
			x, err := s.Session(t.Context(), time.Duration(1+rng.IntN(5))*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, x)
			fmt.Fprintln(&out, "session", x.ID(), x.Deadline())
		case 1:
			r, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{store.DeletePrefix(key[:2])}})
			fmt.Fprintln(&out, r, err)
		case 2:
			c.Advance(time.Duration(rng.IntN(2000)) * time.Millisecond)
		case 3:
			for err == nil {
				var b store.Batch
				b, err = w.Next(done)
				fmt.Fprintln(&out, b, err)
			}
			err = nil
		case 4:
			l, err := s.List(t.Context(), key[:1], store.Page{Limit: 3})
			fmt.Fprintln(&out, l, err)
		default:
			op := store.Put(key, []byte(key))
			if len(sessions) > 0 && rng.IntN(2) == 0 {
				op = store.PutIn(sessions[rng.IntN(len(sessions))].ID(), key, nil)
			}
			r, err := s.Commit(t.Context(), store.Txn{Do: []store.Op{op, store.Put("z", nil)}})
			fmt.Fprintln(&out, r, err)
		}
	}
	return out.String()
}

// The same calls give the same results, to the order of events: a simulated run
// can be repeated.
func TestDeterministic(t *testing.T) {
	for seed := range uint64(10) {
		first := transcript(t, seed)
		for range 5 {
			if again := transcript(t, seed); again != first {
				a, b := strings.Split(first, "\n"), strings.Split(again, "\n")
				for i := range a {
					if a[i] != b[i] {
						t.Fatalf("seed %d, line %d:\n%s\n%s", seed, i, a[i], b[i])
					}
				}
			}
		}
		if n := strings.Count(first, "true}"); n < 50 {
			t.Fatalf("seed %d: only %d deletions were seen", seed, n)
		}
	}
}
