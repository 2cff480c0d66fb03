package sftest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
)

// newerStore is a store in which a newer version of the software has been at work:
// every record that is created in it has members that this one does not know, in
// each of its objects. It notes the records that lose one.
type newerStore struct {
	store.Store
	lost map[string]string // by sort of record
	kept map[string]int    // rewritten without a loss
}

// unknown is the name and value of such a member.
const (
	unknown      = "future"
	unknownValue = "[1,{\"x\":null}]"
)

// rewritten are the sorts of records that are read, changed and written again.
// Others are written whole by whoever they are about, or say all by being there.
var rewritten = []string{
	"namespace", "network", "network-status", "instance", "instance-status", "mesh/nic", "mesh/router", "node-used",
	"event", "operation-status", "snapshot", "snapshot-status",
}

// sortOf is the sort of record that a key is of.
func sortOf(key string) string {
	parts := strings.Split(strings.TrimPrefix(key, "sf/"), "/")
	if parts[0] == "mesh" && len(parts) > 2 {
		return "mesh/" + parts[2]
	}
	return parts[0]
}

func (n *newerStore) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	do := append([]store.Op(nil), txn.Do...)
	type change struct{ sort, lost string }
	var changes []change
	for i, op := range do {
		var value any
		if op.Kind != store.OpPut || sortOf(op.Key) == "metadata" || json.Unmarshal(op.Value, &value) != nil {
			continue
		}
		was, err := n.Store.Get(ctx, op.Key)
		if err == nil {
			var old any
			if json.Unmarshal(was.Value, &old) == nil {
				changes = append(changes, change{sortOf(op.Key), lacks(old, value, "")})
			}
			continue
		}
		do[i].Value = enrich(value)
	}
	txn.Do = do
	rev, err := n.Store.Commit(ctx, txn)
	if err == nil {
		for _, c := range changes {
			if c.lost != "" {
				n.lost[c.sort] = c.lost
			} else {
				n.kept[c.sort]++
			}
		}
	}
	return rev, err
}

// enrich adds the unknown member to every object of a value.
func enrich(v any) []byte {
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				add(e)
			}
		case map[string]any:
			for _, e := range v {
				add(e)
			}
			v[unknown] = json.RawMessage(unknownValue)
		}
	}
	add(v)
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// lacks says where an object that old and now both have lacks its unknown member now.
func lacks(old, now any, path string) string {
	switch was := old.(type) {
	case map[string]any:
		is, ok := now.(map[string]any)
		if !ok {
			return "" // the object is no more
		}
		if was[unknown] != nil && !reflect.DeepEqual(is[unknown], was[unknown]) {
			return "the member of " + path + "/"
		}
		for name, w := range was {
			if l := lacks(w, is[name], path+"/"+name); l != "" && name != unknown {
				return l
			}
		}
	case []any:
		is, ok := now.([]any)
		if !ok || len(is) != len(was) {
			return "" // tests of the codec look at what comes and goes
		}
		for i := range was {
			if l := lacks(was[i], is[i], fmt.Sprintf("%s/%d", path, i)); l != "" {
				return l
			}
		}
	}
	return ""
}

// What a newer version has written into records survives whatever this one does to
// them.
func TestNewerRecordsSurvive(t *testing.T) {
	n := &newerStore{lost: map[string]string{}, kept: map[string]int{}}
	// Which records a seed changes is chance; at least so many, and on until each was.
	unchanged := func(sort string) bool { return n.kept[sort] == 0 }
	for seed := uint64(0); seed < 12 || seed < 60 && slices.ContainsFunc(rewritten, unchanged); seed++ {
		err := Simulate(SimConfig{Seed: seed, Nodes: 3, Heads: 1, Cloud: func(c *sf.Config) { c.DeletedFor = deletedFor }}, func(s *Sim) error {
			n.Store = s.Store
			s.Store = n
			if _, err := inTrouble(s, 30, false); err != nil {
				return err
			}
			return useKeys(s)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for sort, lost := range n.lost {
		for _, s := range rewritten {
			if s == sort {
				t.Errorf("a record %s has lost %s", sort, lost)
			}
		}
	}
	for _, sort := range rewritten {
		if unchanged(sort) {
			t.Errorf("no record %s was changed", sort)
		}
	}
}

// useKeys sets, changes and deletes keys of the namespace system.
func useKeys(s *Sim) error {
	c, ctx := s.Nodes[0].Cloud, s.Context(time.Hour)
	for _, step := range []func() error{
		func() error { return c.SetKey(ctx, sf.System, "a", "one") },
		func() error { return c.SetKey(ctx, sf.System, "b", "two") },
		func() error { return c.SetKey(ctx, sf.System, "a", "three") },
		func() error { return c.DeleteKey(ctx, sf.System, "b") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
