// Package doctor decides what on a host belongs to whom, and what is left over.
//
// It is pure: somebody else looks at the host and at the records, in this order,
// since a record is written before the first thing is made for it and outlives
// the last. What a record should name and none does is then an orphan for sure.
package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/netfab"
)

// Snapshot is one look at a host and at the records.
type Snapshot struct {
	Cloud   string   `json:"cloud,omitempty"` // empty where there has never been one here
	Node    string   `json:"node,omitempty"`
	Tag     string   `json:"tag,omitempty"` // the mark of both
	Meshed  bool     `json:"-"`
	Running int      `json:"pid,omitempty"` // of the sfd that runs here
	Checks  []Check  `json:"checks"`
	Things  []Thing  `json:"-"`
	Records *Records `json:"-"` // nil: they cannot be read
}

// Check is how one part of the host is.
type Check struct {
	Name  string `json:"name"`
	Wrong bool   `json:"wrong,omitempty"`
	Text  string `json:"text"` // how it is and, where that is wrong, what to do
}

// Kinds of things, beside those of netfab.Owned.
const (
	Machine   = "machine"  // a hypervisor's definition
	Process   = "process"  // an emulator
	Volumes   = "volumes"  // an instance's directory
	Snapshots = "snapshot" // a snapshot's directory
	Cgroup    = "cgroup"
	Work      = "work file" // of the image cache
	Download  = "download"  // of an image, not complete
)

// Thing is something on the host that is, or looks like, a cloud's.
type Thing struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Tag is the owner's as proven: by a mark, or by where it is. Empty proves nothing.
	Tag string `json:"tag,omitempty"`
	Why string `json:"why"` // by what it is known to be whose

	Part     netfab.Part `json:"part,omitempty"`
	Network  string      `json:"network,omitempty"` // that it serves, likewise the others
	Instance string      `json:"instance,omitempty"`
	Snapshot string      `json:"snapshot,omitempty"`
	PID      int         `json:"pid,omitempty"` // of an emulator, or that a machine is to have
}

// Ask is what records are needed of.
type Ask struct {
	Node                           string   // whose view it is
	Instances, Networks, Snapshots []string // UUIDs
}

// AskFor returns what has to be known to judge things.
func AskFor(things []Thing) (a Ask) {
	for _, t := range things {
		add(&a.Instances, t.Instance)
		add(&a.Networks, t.Network)
		add(&a.Snapshots, t.Snapshot)
	}
	return a
}

func add(list *[]string, id string) {
	if id != "" && !slices.Contains(*list, id) {
		*list = append(*list, id)
	}
}

// Records is what the records say of what was asked, and what else the node has
// a part in. What does not exist is not there.
type Records struct {
	Cloud     string // whose these are
	Instances map[string]Instance
	Networks  map[string]Network
	Snapshots map[string]Copy
}

// Instance is what a record says of an instance.
type Instance struct {
	Name, Namespace, Node string
	Gone, Deleting, Made  bool  // deleted; to be deleted; its disks were made
	Ports                 []int // raw ones
}

// Network is what a record says of a network.
type Network struct {
	Name, Namespace string
	VNI             uint32
	Here, Routed    bool // this node has a part in it; is its router to the world
}

// Copy is what a record says of a snapshot.
type Copy struct {
	Instance, Node string
	Failed         bool
}

// Verdict is what a thing is found to be.
type Verdict string

// Verdicts. All but the first two are findings.
const (
	Explained Verdict = "ok"       // ours, and a record names it
	Foreign   Verdict = "foreign"  // provably another's
	Orphan    Verdict = "orphan"   // provably ours, and no record names it
	Unproven  Verdict = "unproven" // it looks like ours, and nothing proves whose it is
	Unknown   Verdict = "unknown"  // ours; the records cannot be read
	Missing   Verdict = "missing"  // not there, although a record says so
)

// Finding is a thing that was judged.
type Finding struct {
	Thing
	Verdict Verdict `json:"verdict"`
	Because string  `json:"because"`
	// Later is who removes an orphan when not we: the sfd that runs.
	Later bool `json:"later,omitempty"`
}

// Judge finds out about everything, sorted by verdict, kind and name.
func Judge(s Snapshot) []Finding {
	all := make([]Finding, 0, len(s.Things))
	for _, t := range s.Things {
		f := Finding{Thing: t}
		f.Verdict, f.Because = s.judge(t)
		f.Later = f.Verdict == Orphan && s.Running != 0 && s.defined(t)
		all = append(all, f)
	}
	all = append(all, s.missing()...)
	slices.SortStableFunc(all, func(a, b Finding) int {
		if a.Verdict != b.Verdict {
			return slices.Index(order, a.Verdict) - slices.Index(order, b.Verdict)
		}
		return strings.Compare(a.Kind+"\x00"+a.Name, b.Kind+"\x00"+b.Name)
	})
	return all
}

var order = []Verdict{Orphan, Unproven, Missing, Unknown, Explained, Foreign}

func (s *Snapshot) judge(t Thing) (Verdict, string) {
	switch {
	case t.Tag == "":
		return Unproven, "remove it by hand if it is nobody's; sfd does not touch it"
	case t.Tag != s.Tag:
		return Foreign, s.stranger(t.Tag)
	case s.Records == nil:
		return Unknown, "the records cannot be read"
	case t.Kind == Process && s.double(t):
		return Orphan, "another process is the machine of instance " + t.Instance
	case t.Instance != "":
		return s.ofInstance(t.Instance)
	case t.Snapshot != "":
		return s.ofSnapshot(t.Snapshot)
	case t.Kind == Work && s.Running != 0:
		return Explained, "the running sfd works on it"
	case t.Kind == Work:
		return Orphan, "nobody works on it any more"
	case t.Kind == Download && s.Running != 0:
		return Explained, "it is under way, or goes on when its image is asked for again; sfd removes it after three days without"
	case t.Kind == Download:
		return Explained, "it goes on when its image is asked for again; sfd removes it after three days without"
	case t.Kind == Cgroup:
		return Explained, "machines' groups are in it"
	}
	return s.ofFabric(t)
}

// stranger says who else has a tag.
func (s *Snapshot) stranger(tag string) string {
	cloud, node, ok := strings.Cut(tag, "/")
	switch {
	case ok && cloud == s.Cloud:
		return "belongs to node " + node + " of this cloud"
	case ok && !strings.Contains(cloud, " "):
		return "belongs to node " + node + " of cloud " + cloud
	}
	return "belongs to " + tag
}

// double reports whether a process is a second one of a machine that has another.
func (s *Snapshot) double(t Thing) bool {
	main := 0
	for _, m := range s.Things {
		if m.Kind == Machine && m.Instance == t.Instance && m.PID != 0 {
			main = m.PID
		}
	}
	return main != 0 && main != t.PID && slices.ContainsFunc(s.Things, func(o Thing) bool {
		return o.Kind == Process && o.Tag == t.Tag && o.Instance == t.Instance && o.PID == main
	})
}

// defined reports whether a thing is a machine that a hypervisor knows, which only
// the sfd that has it open can destroy.
func (s *Snapshot) defined(t Thing) bool {
	return t.Kind == Machine || t.Kind == Process && slices.ContainsFunc(s.Things, func(m Thing) bool {
		return m.Kind == Machine && m.Tag == t.Tag && m.Instance == t.Instance && m.PID == t.PID
	})
}

func (s *Snapshot) ofInstance(id string) (Verdict, string) {
	i, ok := s.Records.Instances[id]
	switch {
	case !ok:
		return Orphan, "no record names instance " + id
	case i.Node != s.Node:
		return Orphan, fmt.Sprintf("instance %s is on node %s", id, i.Node)
	case i.Gone:
		return Orphan, "instance " + id + " is deleted"
	}
	return Explained, fmt.Sprintf("instance %s (%s) of namespace %s", i.Name, id, i.Namespace)
}

func (s *Snapshot) ofSnapshot(id string) (Verdict, string) {
	c, ok := s.Records.Snapshots[id]
	switch {
	case !ok:
		return Orphan, "no record names snapshot " + id
	case c.Node != s.Node:
		return Orphan, fmt.Sprintf("snapshot %s is on node %s", id, c.Node)
	case c.Failed:
		return Orphan, "snapshot " + id + " failed"
	}
	return Explained, fmt.Sprintf("snapshot %s of instance %s", id, c.Instance)
}

// ofFabric judges a part of the node's networking.
func (s *Snapshot) ofFabric(t Thing) (Verdict, string) {
	n, ok := s.Records.Networks[t.Network]
	switch {
	case t.Part == netfab.PartOutside:
		return Explained, "this node's way to the world"
	case t.Part == netfab.PartFence || t.Part == netfab.PartShared:
		if s.Meshed {
			return Explained, "this node among others"
		}
		return Orphan, "this node is alone, and has no use for it"
	case t.Part == "" || t.Network == "":
		return Orphan, "it carries the mark of this node, and is nothing that sfd makes"
	case !ok:
		return Orphan, "no record names network " + t.Network
	case !n.Here:
		return Orphan, fmt.Sprintf("this node has no part in network %s (%s)", n.Name, t.Network)
	case t.Part == netfab.PartNetwork && t.Name != netfab.NamespaceName(s.Tag, n.VNI):
		return Orphan, fmt.Sprintf("network %s (%s) is in %s", n.Name, t.Network, netfab.NamespaceName(s.Tag, n.VNI))
	case t.Part == netfab.PartRouter && !n.Routed:
		return Orphan, fmt.Sprintf("network %s (%s) has no way out by this node", n.Name, t.Network)
	}
	return Explained, fmt.Sprintf("network %s (%s) of namespace %s", n.Name, t.Network, n.Namespace)
}

// missing finds instances whose disks are gone.
func (s *Snapshot) missing() (all []Finding) {
	if s.Records == nil {
		return nil
	}
	for id, i := range s.Records.Instances {
		there := func(t Thing) bool { return t.Kind == Volumes && t.Instance == id }
		if i.Node != s.Node || i.Gone || i.Deleting || !i.Made || slices.ContainsFunc(s.Things, there) {
			continue
		}
		all = append(all, Finding{Thing: Thing{Kind: Volumes, Name: id, Tag: s.Tag, Instance: id, Why: "its record"}, Verdict: Missing,
			Because: fmt.Sprintf("the disks of instance %s (%s) of namespace %s are gone: delete it, or bring them back", i.Name, id, i.Namespace)})
	}
	return all
}

// Wrong counts what somebody should look at.
func Wrong(s Snapshot, findings []Finding) (n int) {
	for _, c := range s.Checks {
		if c.Wrong {
			n++
		}
	}
	for _, f := range findings {
		if f.Verdict != Explained && f.Verdict != Foreign {
			n++
		}
	}
	return n
}

// Next is the first orphan that can be removed by us, and is not among those tried.
func Next(findings []Finding, tried func(Thing) bool) (Finding, bool) {
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.Verdict == Orphan && !f.Later && !tried(f.Thing) })
	if i < 0 {
		return Finding{}, false
	}
	return findings[i], true
}
