package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// python runs a program and decodes what it writes, if it is JSON.
func python(t *testing.T, in any, out any, args ...string) {
	t.Helper()
	need.Program(t, "/usr/bin/python3", "python3-prettytable") // of Debian, whatever else is in PATH
	input, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("/usr/bin/python3", "-c", "import prettytable").Run(); err != nil {
		need.Missing(t, "prettytable of Python (Debian package python3-prettytable): %v", err)
	}
	cmd := exec.Command("/usr/bin/python3", args...)
	cmd.Stdin = bytes.NewReader(input)
	text, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			t.Log(string(e.Stderr))
		}
		t.Fatalf("%v: %s", err, text)
	}
}

// Every command of the first client that prints something prints what Python composes
// of the same answers, in each format.
func TestFormatsAgainstPython(t *testing.T) {
	s := &server{replies: map[string]string{}}
	for k, v := range replies {
		s.replies[k] = v
	}
	// The first client crashes on disks without all members, and ours shows more of what
	// is in error.
	whole := strings.NewReplacer(`"size": "8"`, `"size": 8`, `{"size": 16, "type": "disk"}`, `{"size": 16, "base": null, "bus": null, "type": "disk"}`).Replace(instance1)
	s.replies["GET /instances/"+i1], s.replies["POST /instances"] = whole, whole
	s.replies["GET /instances"] = "[" + whole + "," + instance2 + "]"
	s.replies["GET /auth/namespaces/demo/metadata"] = `{"a": "b", "longer key": [1, 1.5, "x", "it's", "\"", null, true, {"a": [], "b": "ü\n"}], "null": null}`
	h := httptest.NewServer(s)
	defer h.Close()
	var lines [][]string
	var runs [][]any
	for _, format := range []string{"pretty", "simple", "json"} {
		for _, run := range []struct {
			line   string
			object string
			extra  any
		}{
			{"node list", "", nil}, {"namespace list", "", nil}, {"namespace show demo", "demo", nil}, {"namespace get-metadata demo", "demo", nil},
			{"network list", "", nil}, {"network list true", "", nil}, {"network show " + n1, n1, nil}, {"network create 192.168.1.0/24 mynet", n1, nil},
			{"network events " + n1, n1, nil}, {"network instances " + n1, n1, nil},
			{"instance list", "", nil}, {"instance show " + i1, i1, nil}, {"instance show " + i1 + " true", i1, true},
			{"instance create vm1 1 2048 -d 8@cirros", i1, nil}, {"instance events " + i1, i1, nil}, {"interface show " + f1, f1, nil},
		} {
			words := strings.Fields(run.line)
			lines = append(lines, append([]string{"--" + format}, words...))
			runs = append(runs, []any{format, words[0] + " " + words[1], run.object, run.extra})
		}
	}
	var want []string
	python(t, map[string]any{"replies": s.replies, "runs": runs}, &want, "testdata/formats.py")
	for i, line := range lines {
		a, out, _ := testApp(h.URL)
		if status := a.run(t.Context(), line); status != 0 {
			t.Errorf("%v: exit %d: %s", line, status, out)
		}
		if d := cmp.Diff(want[i], out.String()); d != "" {
			t.Errorf("%v (-Python +ours):\n%s", line, d)
		}
	}
}

// TestTableAgainstPrettyTable compares our tables with those of the real one.
func TestTableAgainstPrettyTable(t *testing.T) {
	columns := []string{"a", "bb", "a longer one"}
	rows := [][]any{{"x", "yyy", nil}, {"xxxxxxxxxx", "yyyyyyyyy", true}, {"", "yy", 7}, {"xxx", "é", "null"}}
	var want []string
	python(t, map[string]any{"columns": columns, "rows": rows}, &want, "-c", `import json,sys,prettytable
d=json.load(sys.stdin)
out=[]
for n in range(len(d["rows"])+1):
    t=prettytable.PrettyTable()
    t.field_names=d["columns"]
    for r in d["rows"][:n]: t.add_row(r)
    out.append(str(t)+"\n")
json.dump(out,sys.stdout)`)
	for n := range len(rows) + 1 {
		if d := cmp.Diff(want[n], table(columns, rows[:n], func(_, cell string) string { return cell })); d != "" {
			t.Errorf("%d rows (-PrettyTable +ours):\n%s", n, d)
		}
	}
}

// Values look as Python prints them.
func TestShowAgainstPython(t *testing.T) {
	values := []any{nil, true, false, 7.0, -3.0, 1.5, 0.1, "plain", "it's", "", []any{}, []any{"a", nil, 2.5, []any{true}}, map[string]any{},
		map[string]any{"b": "it's", "a": "both ' and \"", "c": map[string]any{"x\\y": "\t\n\r\x00\x7f\u00a0\u00ad ü \u2028 \U0001f600 \U000e0001"}}}
	floats := []pyFloat{0, 1, 1601091234.56, 0.17, 0.0001, 0.00001, 1.5e-7, 123456789012345.6, 1e15, 1e16, 1.5e300, -2.5}
	var want []string
	python(t, map[string]any{"values": values, "floats": floats}, &want, "-c", `import json,sys
d=json.load(sys.stdin)
def sort(v):
    if isinstance(v,dict): return {k:sort(v[k]) for k in sorted(v)}
    return [sort(x) for x in v] if isinstance(v,list) else v
json.dump([str(sort(v)) for v in d["values"]]+[str(v) for v in d["floats"]],sys.stdout)`)
	var got []string
	for _, v := range values {
		got = append(got, show(v))
	}
	for _, f := range floats {
		got = append(got, show(f))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-Python +ours):\n%s", d)
	}
}
