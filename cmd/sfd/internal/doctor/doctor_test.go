package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shakenfist/cloud/netfab"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const tag = "c1/n1"

var records = &Records{
	Instances: map[string]Instance{
		"i1":       {Name: "web", Namespace: "shop", Node: "n1", Made: true},
		"gone":     {Name: "old", Namespace: "shop", Node: "n1", Gone: true, Made: true},
		"deleting": {Name: "going", Namespace: "shop", Node: "n1", Deleting: true, Made: true},
		"new":      {Name: "new", Namespace: "shop", Node: "n1"},
		"away":     {Name: "away", Namespace: "shop", Node: "n2", Made: true},
	},
	Networks: map[string]Network{
		"lan":  {Name: "lan", Namespace: "shop", VNI: 42, Here: true, Routed: true},
		"flat": {Name: "flat", Namespace: "shop", VNI: 43, Here: true},
		"far":  {Name: "far", Namespace: "shop", VNI: 44},
	},
	Snapshots: map[string]Copy{"s1": {Instance: "i1", Node: "n1"}, "bad": {Instance: "i1", Node: "n1", Failed: true}, "s2": {Instance: "i1", Node: "n2"}},
}

func network(id string, vni uint32) Thing {
	return Thing{Kind: "namespace", Name: netfab.NamespaceName(tag, vni), Tag: tag, Part: netfab.PartNetwork, Network: id, Why: "a mark"}
}

// cases are things and what they are, with these records and no sfd at work.
var cases = []struct {
	name  string
	thing Thing
	want  Verdict
}{
	{"a network", network("lan", 42), Explained},
	{"in another namespace than its own", network("lan", 41), Orphan},
	{"of no record", network("nothing", 42), Orphan},
	{"of a network elsewhere", network("far", 44), Orphan},
	{"a router", Thing{Kind: "device", Tag: tag, Part: netfab.PartRouter, Network: "lan"}, Explained},
	{"of a network without", Thing{Kind: "device", Tag: tag, Part: netfab.PartRouter, Network: "flat"}, Orphan},
	{"the outside", Thing{Kind: "device", Tag: tag, Part: netfab.PartOutside}, Explained},
	{"a fence", Thing{Kind: "table", Tag: tag, Part: netfab.PartFence}, Orphan},
	{"a shared outside", Thing{Kind: "device", Tag: tag, Part: netfab.PartShared}, Orphan},
	{"our mark on something odd", Thing{Kind: "table", Tag: tag}, Orphan},
	{"our mark on something odd of a network", Thing{Kind: "device", Tag: tag, Network: "lan"}, Orphan},
	{"a machine", Thing{Kind: Machine, Tag: tag, Instance: "i1"}, Explained},
	{"a machine to be deleted", Thing{Kind: Machine, Tag: tag, Instance: "deleting"}, Explained},
	{"a machine of a deleted instance", Thing{Kind: Machine, Tag: tag, Instance: "gone"}, Orphan},
	{"a machine of no instance", Thing{Kind: Process, Tag: tag, Instance: "nothing"}, Orphan},
	{"a machine that is elsewhere", Thing{Kind: Volumes, Tag: tag, Instance: "away"}, Orphan},
	{"a group of machines", Thing{Kind: Cgroup, Tag: tag}, Explained},
	{"a machine's group", Thing{Kind: Cgroup, Tag: tag, Instance: "nothing"}, Orphan},
	{"a snapshot", Thing{Kind: Snapshots, Tag: tag, Snapshot: "s1"}, Explained},
	{"a snapshot that failed", Thing{Kind: Snapshots, Tag: tag, Snapshot: "bad"}, Orphan},
	{"a snapshot that is elsewhere", Thing{Kind: Snapshots, Tag: tag, Snapshot: "s2"}, Orphan},
	{"a snapshot of no record", Thing{Kind: Snapshots, Tag: tag, Snapshot: "nothing"}, Orphan},
	{"left work", Thing{Kind: Work, Tag: tag}, Orphan},
	{"half a download", Thing{Kind: Download, Tag: tag}, Explained},
	{"another node's", Thing{Kind: "table", Tag: "c1/n2"}, Foreign},
	{"another cloud's", Thing{Kind: Machine, Tag: "c2/n1", Instance: "nothing"}, Foreign},
	{"another directory's", Thing{Kind: Process, Tag: "the data directory /x", Instance: "nothing"}, Foreign},
	{"nobody's", Thing{Kind: "device", Part: netfab.PartRouter, Network: "nothing"}, Unproven},
	{"nobody's process of an instance of ours", Thing{Kind: Process, Instance: "i1"}, Unproven},
}

func TestJudge(t *testing.T) {
	for _, c := range cases {
		s := Snapshot{Cloud: "c1", Node: "n1", Tag: tag, Records: records}
		if got, why := s.judge(c.thing); got != c.want || why == "" {
			t.Errorf("%s: %s (%s), want %s", c.name, got, why, c.want)
		}
		// Without records nothing of ours is an orphan, and others' things are what they are.
		s.Records = nil
		want := Unknown
		if c.want == Foreign || c.want == Unproven {
			want = c.want
		}
		if got, _ := s.judge(c.thing); got != want {
			t.Errorf("%s, without records: %s, want %s", c.name, got, want)
		}
		// Where there has never been a cloud nothing is ours.
		if got, _ := (&Snapshot{Records: records}).judge(c.thing); got != Foreign && got != Unproven {
			t.Errorf("%s, without a cloud: %s", c.name, got)
		}
	}
	meshed := Snapshot{Cloud: "c1", Node: "n1", Tag: tag, Records: records, Meshed: true}
	for _, part := range []netfab.Part{netfab.PartFence, netfab.PartShared} {
		if got, _ := meshed.judge(Thing{Kind: "table", Tag: tag, Part: part}); got != Explained {
			t.Errorf("%s of a node among others: %s", part, got)
		}
	}
}

// Of two processes of one machine the one that the hypervisor does not know is left over.
func TestTwoProcesses(t *testing.T) {
	one, two := Thing{Kind: Process, Name: "1", Tag: tag, Instance: "i1", PID: 10}, Thing{Kind: Process, Name: "2", Tag: tag, Instance: "i1", PID: 11}
	machine := Thing{Kind: Machine, Name: "i1", Tag: tag, Instance: "i1", PID: 11}
	verdicts := func(things ...Thing) (all []Verdict) {
		s := Snapshot{Node: "n1", Tag: tag, Records: records, Things: things}
		for _, thing := range things {
			v, _ := s.judge(thing)
			all = append(all, v)
		}
		return all
	}
	if got := verdicts(one, two, machine); !slices.Equal(got, []Verdict{Orphan, Explained, Explained}) {
		t.Error(got)
	}
	// The one that it knows may be about to be started: then nobody is sure.
	if got := verdicts(one, machine); !slices.Equal(got, []Verdict{Explained, Explained}) {
		t.Error(got)
	}
	machine.PID = 0
	if got := verdicts(one, two, machine); !slices.Equal(got, []Verdict{Explained, Explained, Explained}) {
		t.Error(got)
	}
}

// What the running sfd has open is left to it, and everything only once tried.
func TestNext(t *testing.T) {
	s := Snapshot{Node: "n1", Tag: tag, Records: records, Running: 7, Things: []Thing{
		{Kind: Machine, Name: "nothing", Tag: tag, Instance: "nothing", PID: 5}, {Kind: Process, Name: "p", Tag: tag, Instance: "nothing", PID: 5},
		{Kind: Process, Name: "stray", Tag: tag, Instance: "nothing", PID: 6}, {Kind: Work, Name: "w", Tag: tag}, {Kind: Volumes, Name: "i1", Tag: tag, Instance: "i1"},
	}}
	order := func() (names []string) {
		tried := func(t Thing) bool { return slices.Contains(names, t.Name) }
		for f, ok := Next(Judge(s), tried); ok; f, ok = Next(Judge(s), tried) {
			names = append(names, f.Name)
		}
		return names
	}
	if got := order(); !slices.Equal(got, []string{"stray"}) {
		t.Errorf("with an sfd: %q", got)
	}
	s.Running = 0
	if got := order(); !slices.Equal(got, []string{"nothing", "p", "stray", "w"}) {
		t.Errorf("without: %q", got)
	}
}

// TestReport keeps what people and programs are shown.
func TestReport(t *testing.T) {
	s := Snapshot{Cloud: "c1", Node: "n1", Tag: tag, Records: records, Checks: []Check{
		{Name: "records", Text: "/srv/shakenfist/records.db has 1 instances and 2 networks for this node"},
		{Name: "disk", Wrong: true, Text: "0.5 of 50.0 GiB are free: make room"},
	}}
	for _, c := range cases {
		thing := c.thing
		if thing.Name == "" {
			thing.Name = "of " + c.name
		}
		thing.Why = "it says so"
		s.Things = append(s.Things, thing)
	}
	for _, running := range []int{0, 123} {
		s.Running = running
		r := Make(s)
		if running == 0 {
			r.Removed = r.Things[:1]
			r.Failed = []Failure{{Finding: r.Things[1], Error: "it does not go"}}
		}
		var text, lines bytes.Buffer
		Text(&text, r)
		e := json.NewEncoder(&lines)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			t.Fatal(err)
		}
		name := map[int]string{0: "stopped", 123: "running"}[running]
		golden(t, name+".txt", text.Bytes())
		golden(t, name+".json", lines.Bytes())
	}
	var text bytes.Buffer
	Text(&text, Make(Snapshot{}))
	golden(t, "nothing.txt", text.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}
