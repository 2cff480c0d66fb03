package etcd

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/shakenfist/cloud/store"
)

// message is a response in short: "7+a 7-b" are events, "..." at the end says
// that a fragment follows, "@9" is a mark.
func message(text string) *pb.WatchResponse {
	r := &pb.WatchResponse{Header: &pb.ResponseHeader{}}
	for _, f := range strings.Fields(text) {
		var rev int64
		switch {
		case f == "...":
			r.Fragment = true
		case f[0] == '@':
			fmt.Sscanf(f, "@%d", &r.Header.Revision)
			r.WatchId = -1
		default:
			fmt.Sscanf(f, "%d", &rev)
			sign := strings.IndexAny(f, "+-")
			kv := &mvccpb.KeyValue{Key: []byte("/p/" + f[sign+1:]), ModRevision: rev, Lease: rev}
			typ := mvccpb.Event_PUT
			if f[sign] == '-' {
				typ, kv.Lease = mvccpb.Event_DELETE, 0
			}
			r.Events = append(r.Events, &mvccpb.Event{Type: typ, Kv: kv})
		}
	}
	return r
}

// short renders batches the same way, each in brackets.
func short(batches []store.Batch) string {
	var all []string
	for _, b := range batches {
		s := fmt.Sprintf("[%d", b.Revision)
		for _, ev := range b.Events {
			sign := "+"
			if ev.Deleted {
				sign = "-"
			}
			s += " " + sign + ev.Key
			if ev.Revision != b.Revision || ev.Deleted != (ev.Session == 0) {
				s += "?"
			}
		}
		all = append(all, s+"]")
	}
	return strings.Join(all, " ")
}

func TestAssembler(t *testing.T) {
	for _, c := range []struct {
		name   string
		coarse bool
		in     []string
		want   string
	}{
		{"one", false, []string{"6+a"}, "[6 +a]"},
		{"whole revisions", false, []string{"6+a 6-b 7+c"}, "[6 +a -b] [7 +c]"},
		{"what is old is not said again", false, []string{"4+a 5+b 6+c", "6+c 7+d"}, "[6 +c] [7 +d]"},
		{"a fragment may end within a revision", false, []string{"6+a 7+b ...", "7+c ...", "7+d 8+e"}, "[6 +a] [7 +b +c +d] [8 +e]"},
		{"a fragment may end with a revision", false, []string{"6+a ...", "7+b"}, "[6 +a] [7 +b]"},
		{"marks", false, []string{"@5", "@6", "7+a", "@7", "@9"}, "[6] [7 +a] [9]"},
		{"a mark from the past", false, []string{"7+a", "@6", "8+b"}, "[7 +a] [8 +b]"},
		{"others are marks", true, []string{"6+other 7+a", "8+other", "9+other 10+other"}, "[7 +w/a] [8] [10]"},
		{"others beside own", true, []string{"6+a 6+other 7+other 8+a"}, "[6 +w/a] [8 +w/a]"},
		{"marks that overtake", true, []string{"@9", "6+a", "@9", "7+a"}, "[6 +w/a] [7 +w/a]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := assembler{own: "/p/", prefix: "/p/", last: 5, coarse: c.coarse}
			var got []store.Batch
			for _, text := range c.in {
				if c.coarse {
					a.prefix = "/p/w/"
					text = strings.NewReplacer("+a", "+w/a").Replace(text)
				}
				got = append(got, a.add(message(text))...)
			}
			if short(got) != c.want {
				t.Fatalf("%q made %s, want %s", c.in, short(got), c.want)
			}
		})
	}
}

// However a history is cut into responses and fragments, and resumed with what was
// already seen, the same revisions come out, each once and whole.
func FuzzAssembler(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(40), seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, coarse bool) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var events, want []string
		for rev := 6; rev < 6+int(n); rev++ {
			own := fmt.Sprintf("[%d", rev)
			for k := range 1 + rng.IntN(4) {
				key := fmt.Sprintf("w/k%d", k)
				if coarse && rng.IntN(2) == 0 {
					key = fmt.Sprintf("other/k%d", k)
				} else {
					own += " +" + key
				}
				events = append(events, fmt.Sprintf("%d+%s", rev, key))
			}
			if strings.Contains(own, " ") {
				want = append(want, own+"]")
			}
		}
		a := assembler{own: "/p/", prefix: "/p/w/", last: 5, coarse: coarse}
		var got []string
		for i := 0; i < len(events); {
			size := min(1+rng.IntN(9), len(events)-i)
			text := strings.Join(events[i:i+size], " ")
			i += size
			// etcd ends a response within a revision only where a fragment follows.
			if i < len(events) && (rng.IntN(2) == 0 || strings.Split(events[i], "+")[0] == strings.Split(events[i-1], "+")[0]) {
				text += " ..."
			}
			if rng.IntN(5) == 0 { // the stream broke, and the next one starts at the last revision
				a.open = store.Batch{}
				for i = 0; i < len(events) && !strings.HasPrefix(events[i], fmt.Sprintf("%d+", a.last)); i++ {
				}
				if i == len(events) {
					i = 0
				}
				continue
			}
			for _, b := range a.add(message(text)) {
				if len(b.Events) > 0 {
					got = append(got, short([]store.Batch{b}))
				} else if !coarse {
					t.Fatalf("a mark at %d out of nothing", b.Revision)
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %s\nwant %s", got, want)
		}
	})
}
