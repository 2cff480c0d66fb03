package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Report is what an operator is shown.
type Report struct {
	Snapshot
	Things   []Finding `json:"things"`
	Removed  []Finding `json:"removed,omitempty"`
	Failed   []Failure `json:"failed,omitempty"`
	Findings int       `json:"findings"`
}

// Failure is a removal that failed.
type Failure struct {
	Finding
	Error string `json:"error"`
}

// Make judges a snapshot.
func Make(s Snapshot) Report {
	r := Report{Snapshot: s, Things: Judge(s)}
	r.Findings = Wrong(s, r.Things)
	return r
}

// Text prints a report for people.
func Text(w io.Writer, r Report) {
	fmt.Fprintln(w, r.head())
	fmt.Fprintln(w, "\nchecks")
	for _, c := range r.Checks {
		fmt.Fprintf(w, "  %-8s  %s: %s\n", word(c.Wrong, "wrong", "ok"), c.Name, c.Text)
	}
	fmt.Fprintln(w, "\non this host")
	if len(r.Things) == 0 {
		fmt.Fprintln(w, "  nothing")
	}
	for _, f := range r.Things {
		fmt.Fprintf(w, "  %-8s  %s %s: %s\n", f.Verdict, f.Kind, f.Name, f.Because)
		if f.Why != "" && f.Verdict != Explained && f.Verdict != Foreign {
			fmt.Fprintf(w, "            %s\n", f.Why)
		}
	}
	if len(r.Removed)+len(r.Failed) > 0 {
		fmt.Fprintln(w, "\nfixed")
	}
	for _, f := range r.Removed {
		fmt.Fprintf(w, "  removed   %s %s: %s\n", f.Kind, f.Name, f.Because)
	}
	for _, f := range r.Failed {
		fmt.Fprintf(w, "  failed    %s %s: %s\n", f.Kind, f.Name, f.Error)
	}
	fmt.Fprintln(w, "\n"+r.sum())
}

func (r *Report) head() string {
	who := "no cloud has been on this host yet"
	if r.Cloud != "" {
		who = fmt.Sprintf("node %s of cloud %s", r.Node, r.Cloud)
	}
	if r.Running != 0 {
		return fmt.Sprintf("%s; sfd runs as process %d", who, r.Running)
	}
	return who + "; sfd does not run"
}

// sum says what is to be done.
func (r *Report) sum() string {
	var ours, later int
	for _, f := range r.Things {
		switch {
		case f.Later:
			later++
		case f.Verdict == Orphan:
			ours++
		}
	}
	if r.Findings == 0 {
		return "all is well"
	}
	say := []string{fmt.Sprintf("%d %s", r.Findings, word(r.Findings == 1, "finding", "findings"))}
	if ours > 0 {
		say = append(say, fmt.Sprintf("sfd doctor --fix removes %d", ours))
	}
	if later > 0 {
		say = append(say, fmt.Sprintf("the running sfd removes %d by itself, within half a minute", later))
	}
	return strings.Join(say, "; ")
}

func word(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}
