package qemu

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
)

func TestParts(t *testing.T) {
	s := driver.Spec{Disks: []driver.Disk{{Device: "vda"}, {Device: "vdb"}}}
	for name, targets := range map[string][]driver.SnapshotTarget{
		"nothing":       nil,
		"no such disk":  {{Device: "vdc", Path: "/a"}},
		"a disk twice":  {{Device: "vda", Path: "/a"}, {Device: "vda", Path: "/b"}},
		"a place twice": {{Device: "vda", Path: "/a"}, {Device: "vdb", Path: "/a"}},
	} {
		if _, err := parts(s, "job", targets); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	all, err := parts(s, strings.Repeat("long ", 99), []driver.SnapshotTarget{{Device: "vdb", Path: "/b"}, {Device: "vda", Path: "/a"}})
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for i, p := range all {
		if len(p.name) > 31 || !strings.HasSuffix(p.name, fmt.Sprintf("-%d-2", i)) {
			t.Errorf("part %d is %+v", i, p)
		}
	}
}

func TestJobStatus(t *testing.T) {
	part := func(id, status, text string) job {
		return job{ID: "snap-x-" + id, Status: status, Error: text, Done: 3, Total: 10}
	}
	tests := []struct {
		name         string
		jobs         []job
		whole, ended bool
		err          error // nil, ErrNoSpace, or errAny
	}{
		{"none", nil, false, true, nil},
		{"one of two", []job{part("1-2", "concluded", "")}, false, true, nil},
		{"running", []job{part("0-2", "concluded", ""), part("1-2", "running", "")}, true, false, nil},
		{"failing", []job{part("0-2", "concluded", "No space left on device"), part("1-2", "aborting", "")}, true, false, nil},
		{"success", []job{part("0-1", "concluded", "")}, true, true, nil},
		{"no space", []job{part("0-2", "concluded", "Operation canceled"), part("1-2", "concluded", "No space left on device")}, true, true, driver.ErrNoSpace},
		{"quota", []job{part("0-1", "concluded", "Disk quota exceeded")}, true, true, driver.ErrNoSpace},
		{"canceled", []job{part("0-1", "concluded", "Operation canceled")}, true, true, errAny},
	}
	for _, tt := range tests {
		st := jobStatus(tt.jobs)
		n := int64(len(tt.jobs))
		if whole(tt.jobs) != tt.whole || st.Ended != tt.ended || st.Done != 3*n || st.Total != 10*n {
			t.Errorf("%s: whole %v, %+v", tt.name, whole(tt.jobs), st)
		}
		if tt.err == errAny && st.Err != nil {
			continue
		}
		if !errors.Is(st.Err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.name, st.Err, tt.err)
		}
	}
}

var errAny = errors.New("any")
