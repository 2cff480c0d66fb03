package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/faulty"
)

// Faulty puts faults in front of a store; see package faulty.
func Faulty(s store.Store, decide func(faulty.Call) faulty.Fault) *faulty.Store {
	return faulty.New(s, faulty.Config{Decide: decide})
}

var faultCases = []namedCase{
	// A commit whose reply was lost has happened; only reading tells.
	{"LostReply", func(t *kit) {
		f := Faulty(t.s, faulty.Nth(1, faulty.Fault{Effect: faulty.LoseReply}, faulty.Commit))
		_, err := f.Commit(t.ctx, store.Txn{Do: []store.Op{store.Put("a", nil)}})
		t.is(err, store.ErrUnknownOutcome)
		t.wantKeys("", "a")
	}},
	// A commit whose request was lost looks the same, and has not happened.
	{"LostRequest", func(t *kit) {
		f := Faulty(t.s, faulty.Nth(1, faulty.Fault{Effect: faulty.LoseRequest}, faulty.Commit))
		_, err := f.Commit(t.ctx, store.Txn{Do: []store.Op{store.Put("a", nil)}})
		t.is(err, store.ErrUnknownOutcome)
		t.wantKeys("")
	}},
	// A late commit has not happened when one looks, and then it has. Conditions
	// protect who went on meanwhile.
	{"Late", func(t *kit) {
		f := Faulty(t.s, faulty.Nth(1, faulty.Fault{Effect: faulty.Late, Calls: 1}, faulty.Commit))
		txn := store.Txn{If: []store.Cond{store.Absent("a")}, Do: []store.Op{store.Put("a", []byte("late"))}}
		_, err := f.Commit(t.ctx, txn)
		t.is(err, store.ErrUnknownOutcome)
		_, err = f.Get(t.ctx, "a")
		t.is(err, store.ErrNotFound)
		_, err = f.Commit(t.ctx, txn)
		t.is(err, store.ErrConflict)
		if got := t.get("a"); string(got.Value) != "late" {
			t.Fatalf("the key is %q", got.Value)
		}
	}},
	// Who writes a mark of their own, and after an unknown outcome reads whether it is
	// there, does everything exactly once over a network that loses every third call.
	{"ExactlyOnce", func(t *kit) {
		const callers, rounds = 4, 15
		t.do(store.Put("log", nil))
		for seed := range uint64(3) {
			f := Faulty(t.s, faulty.Seeded(seed, faulty.Rates{Refuse: .05, LoseRequest: .1, LoseReply: .15, Late: .1, MaxLate: 10}))
			t.together(callers, func(me int) error {
				for i := range rounds {
					if err := appendOnce(t, f, fmt.Sprintf("%d.%d.%d", seed, me, i)); err != nil {
						return err
					}
				}
				return nil
			})
			f.Settle(t.ctx)
			got := strings.Fields(string(t.get("log").Value))
			slices.Sort(got)
			if want := callers * rounds * int(seed+1); len(got) != want || len(slices.Compact(got)) != want {
				t.Fatalf("seed %d: %d marks, %d different, want %d", seed, len(got), len(slices.Compact(got)), want)
			}
		}
	}},
}

// appendOnce adds mark to the log, however often it has to try.
func appendOnce(t *kit, s store.Store, mark string) error {
	for {
		r, err := s.Get(t.ctx, "log")
		if errors.Is(err, faulty.ErrInjected) {
			continue
		}
		if err != nil {
			return err
		}
		if slices.Contains(strings.Fields(string(r.Value)), mark) {
			return nil
		}
		_, err = s.Commit(t.ctx, store.Txn{
			If: []store.Cond{store.RevisionIs("log", r.Revision)},
			Do: []store.Op{store.Put("log", []byte(string(r.Value)+" "+mark))},
		})
		if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, faulty.ErrInjected) {
			return err
		}
	}
}
