package main

import (
	"strings"
	"testing"
)

// FuzzImportOptions reads any arguments: what is accepted names an etcd to read from,
// and absolute paths.
func FuzzImportOptions(f *testing.F) {
	for _, s := range []string{
		"--from\nhttp://a:2379\n--apply", "--etcd=http://a:2379\n--data-dir\n/x", "--from=http://a:2379\n--node\nsf-1=n1\n--node=sf-1=n2",
		"--from\nhttp://a:2379\n--disks\nrelative", "--help", "--start=perhaps", "-\n--\n--from",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Split(s, "\n")
		c, _, err := parseCommand(importCommands[0], args, nil)
		if err != nil || c.help || c.version {
			return
		}
		if o := c.old; len(o.from.endpoints) == 0 || o.disks != "" && o.disks[0] != '/' {
			t.Errorf("%q: %+v", args, o)
		}
	})
}

// FuzzIdentity reads what might be the file that says whose this host's machines are: whoever
// is named there can mark them.
func FuzzIdentity(f *testing.F) {
	for _, s := range []string{`{"cloud":"c","node":"n"}`, `{"cloud":"c"}`, `{}`, `[]`, ``, `{"cloud":"c","node":"` + strings.Repeat("n", 100) + `"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		known, err := parseIdentity(defaults(), data)
		if err == nil && (known.Cloud == "" || known.Node == "" || len(known.Cloud) <= 36 && len(known.tag()) > 64) {
			t.Errorf("%q: %+v, %q", data, known, known.tag())
		}
	})
}
