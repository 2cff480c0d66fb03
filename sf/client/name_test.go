package client

import (
	"errors"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/spec"
)

// What a name means: one's own before others', what is there before what is gone, and
// nothing where that is not one object.
func TestNames(t *testing.T) {
	list := []named{
		{"u1", "web", "demo", spec.StateCreated},
		{"u2", "web", "other", spec.StateCreated},
		{"u3", "web", "demo", spec.StateDeleted},
		{"u4", "db", "other", spec.StateError},
		{"u5", "db", "third", spec.StateCreated},
		{"u6", "old", "demo", spec.StateDeleted},
		{"u7", "twin", "demo", spec.StateError},
		{"u8", "twin", "demo", ""},
		{"u9", "", "demo", spec.StateCreated},
	}
	for _, tt := range []struct {
		namespace, name string
		want            string
		class           error
		text            string
	}{
		{"", "web", "u1", nil, ""},
		{"demo", "web", "u1", nil, ""},
		{"other", "web", "u2", nil, ""},
		{"third", "web", "", spec.ErrNotFound, `no instance has the UUID or name "web"`},
		{"", "db", "", spec.ErrInvalid, `"db" is the name of 2 instances, so say by UUID which: u4 (namespace other, error), u5 (namespace third, created)`},
		{"third", "db", "u5", nil, ""},
		{"", "old", "u6", nil, ""},
		{"", "twin", "", spec.ErrInvalid, `u7 (namespace demo, error), u8 (namespace demo)`},
		{"", "WEB", "", spec.ErrNotFound, `no instance has the UUID or name "WEB"`},
	} {
		got, err := pick(spec.KindInstance, list, tt.namespace, "demo", tt.name)
		if got != tt.want || !errors.Is(err, tt.class) || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%q in %q: %q, %v", tt.name, tt.namespace, got, err)
		}
	}
}
