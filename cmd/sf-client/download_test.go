package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A snapshot is made, downloaded and deleted by the command line alone; what was
// there of a download is not fetched again.
func TestSnapshotLife(t *testing.T) {
	r := newReal(t)
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros", "-d", "2")
	r.run("instance", "poweroff", vm)
	out := r.run("instance", "snapshot", vm, "true")
	id := strings.TrimSuffix(strings.TrimPrefix(out, "Created snapshot "), "\n")
	want := "snapshot " + id + " of vda"
	dir := t.TempDir()
	name := filepath.Join(dir, "boot.qcow2")
	if out := r.run("snapshot", "download", id, "-o", name); out != name+"\n" {
		t.Errorf("it says %q", out)
	}
	check := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
		if left, err := filepath.Glob(name + ".*.part"); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	check(name, want)
	if shown := r.stderr.String(); !strings.Contains(shown, "100 % of 0.0 MB") || !strings.HasSuffix(shown, "\r\x1b[K") {
		t.Errorf("shown: %q", shown)
	}

	// The first bytes are recognisably not the server's.
	for _, there := range []int{1, 20, len(want)} {
		name := filepath.Join(dir, "again.qcow2")
		begun := strings.Repeat("#", there)
		if err := os.WriteFile(partial(name, id, "vda"), []byte(begun), 0o600); err != nil {
			t.Fatal(err)
		}
		r.run("snapshot", "download", id, "vda", "-o", name)
		check(name, begun+want[there:])
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}

	a, said, _ := testApp(r.url)
	if status := a.run(t.Context(), []string{"snapshot", "download", id, "-o", name}); status != 1 || !strings.Contains(said.String(), "is there already") {
		t.Errorf("over a file that is there: %d %s", status, said)
	}
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(partial(long, id, "vda"), []byte(want+"more"), 0o600); err != nil {
		t.Fatal(err)
	}
	said.Reset()
	if status := a.run(t.Context(), []string{"snapshot", "download", id, "-o", long}); status != 1 || !strings.Contains(said.String(), "it is not the same file") {
		t.Errorf("after a longer file: %d %s", status, said)
	}

	// Under the same name another disk is a download of its own, and what is there of
	// the first waits for it.
	mixed := filepath.Join(dir, "mixed")
	begun := partial(mixed, id, "vda")
	if err := os.WriteFile(begun, []byte("###"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.run("snapshot", "download", id, "vdc", "-o", mixed)
	if got, err := os.ReadFile(mixed); err != nil || string(got) != "snapshot "+id+" of vdc" {
		t.Errorf("it is %q, %v", got, err)
	}
	if _, err := os.Stat(begun); err != nil {
		t.Error(err)
	}

	r.run("instance", "delete", vm)
	if out := r.run("--simple", "snapshot", "list"); !strings.Contains(out, id+","+vm+",demo,node1,vda vdc,") {
		t.Errorf("list: %s", out)
	}
	second := r.uuid("--json", "instance", "create", "vm2", "1", "512", "-d", "8@snapshot:"+id)
	r.run("snapshot", "delete", id)
	r.run("instance", "delete", second)
	if out := r.run("--json", "snapshot", "list"); out != "{\n    \"snapshots\": []\n}\n" {
		t.Errorf("list: %s", out)
	}
	r.cloud.ComeToRest(t)
}

func TestBar(t *testing.T) {
	for _, tt := range []struct {
		first, done, total int64
		took               time.Duration
		want               string
	}{
		{0, 0, 100e6, 0, "[                              ]   0 % of 100.0 MB"},
		{0, 50e6, 100e6, 5 * time.Second, "[===============               ]  50 % of 100.0 MB, 10.0 MB/s, 5s left"},
		{80e6, 90e6, 100e6, time.Second, "[===========================   ]  90 % of 100.0 MB, 10.0 MB/s, 1s left"},
		{0, 100e6, 100e6, time.Minute, "[==============================] 100 % of 100.0 MB, 1.7 MB/s, 0s left"},
		{0, 0, 0, time.Second, "[==============================] 100 % of 0.0 MB"},
	} {
		if got := bar(tt.first, tt.done, tt.total, tt.took); got != tt.want {
			t.Errorf("%d of %d:\n%q, want\n%q", tt.done, tt.total, got, tt.want)
		}
	}
}
