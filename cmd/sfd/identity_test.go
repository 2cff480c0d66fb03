package main

import (
	"log/slog"
	"os"
	"strings"
	"testing"
)

func inDir(t *testing.T) *config {
	c := defaults()
	c.dataDir = t.TempDir()
	return c
}

var discard = slog.New(slog.DiscardHandler)

// TestIdentity follows a data directory through its life.
func TestIdentity(t *testing.T) {
	c := inDir(t)
	known, err := readIdentity(c)
	if err != nil || known != (identity{}) {
		t.Fatalf("a new directory: %+v, %v", known, err)
	}
	is := identity{Cloud: "9f0c7b1e-0000-4000-8000-000000000000", Node: "sf-1"}
	if err := known.confirm(c, is); err != nil {
		t.Fatal(err)
	}
	if _, err := readIdentity(c); err == nil || !strings.Contains(err.Error(), "records.db are missing") {
		t.Errorf("without records: %v", err)
	}
	if err := os.WriteFile(c.path(storeName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if known, err = readIdentity(c); err != nil || known != is {
		t.Fatalf("read back %+v, %v", known, err)
	}
	other := identity{Cloud: "11111111-0000-4000-8000-000000000000", Node: "sf-1"}
	if err := known.confirm(c, other); err == nil || !strings.Contains(err.Error(), "going on would destroy them") {
		t.Errorf("another cloud's records: %v", err)
	}
	if err := os.WriteFile(c.path(identityName), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readIdentity(c); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestNodeName(t *testing.T) {
	known := identity{Cloud: "c", Node: "old"}
	for _, test := range []struct {
		name          string
		known         identity
		option, host  string
		want, wantErr string
	}{
		{"first start", identity{}, "", "box", "box", ""},
		{"first start, named", identity{}, "sf-1", "box", "sf-1", ""},
		{"first start, no usable name", identity{}, "", "a b", "", "use --node-name"},
		{"later", known, "", "old", "old", ""},
		{"the host was renamed", known, "", "new", "old", ""},
		{"the same by option", known, "old", "new", "old", ""},
		{"another by option", known, "new", "old", "", "cannot change"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := defaults()
			c.nodeName = test.option
			got, err := nodeName(c, test.known, test.host, discard)
			if got != test.want || (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%q, %v; want %q, %q", got, err, test.want, test.wantErr)
			}
		})
	}
}

// TestTag holds that every name gives a mark that the fabric takes.
func TestTag(t *testing.T) {
	cloud := "9f0c7b1e-0000-4000-8000-000000000000"
	seen := map[string]bool{}
	for _, node := range []string{"a", strings.Repeat("a", 27), strings.Repeat("a", 28), strings.Repeat("a", 63), strings.Repeat("a", 62) + "b"} {
		tag := identity{Cloud: cloud, Node: node}.tag()
		if len(tag) > 64 || seen[tag] || !strings.HasPrefix(tag, cloud+"/") {
			t.Errorf("node %q: tag %q", node, tag)
		}
		seen[tag] = true
	}
}

func TestAuthSecret(t *testing.T) {
	c := inDir(t)
	first, err := authSecret(c)
	if err != nil || len(first) < 32 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	info, err := os.Stat(c.path(secretName))
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, err := authSecret(c)
	if err != nil || string(again) != string(first) {
		t.Errorf("the second start has another secret, %v", err)
	}
	c.authSecret = "0123456789abcdef"
	if given, err := authSecret(c); err != nil || string(given) != c.authSecret {
		t.Errorf("given: %q, %v", given, err)
	}
	c.authSecret = ""
	if err := os.WriteFile(c.path(secretName), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := authSecret(c); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("damaged: %v", err)
	}
}
