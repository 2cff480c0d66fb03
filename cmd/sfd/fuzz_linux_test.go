package main

import (
	"slices"
	"strings"
	"testing"
)

// FuzzImportOptions splits any arguments: what is not the import's own is left for sfd, in
// order, and what is accepted names an etcd to read from.
func FuzzImportOptions(f *testing.F) {
	for _, s := range []string{
		"--from\nhttp://a:2379\n--apply", "--etcd=http://a:2379\n--data-dir\n/x", "--node\nsf-1=n1\n--node=sf-1=n2", "--from\nhttp://a\n--disks\nrelative", "--help", "--start=perhaps", "-\n--\n--from",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Split(s, "\n")
		o, rest, err := splitImport(args)
		if err != nil || o.help {
			return
		}
		if len(o.from.endpoints) == 0 || o.disks != "" && o.disks[0] != '/' {
			t.Errorf("%q: %+v", args, o)
		}
		for _, r := range rest {
			k := slices.Index(args, r)
			if k < 0 {
				t.Fatalf("%q of %q", rest, args)
			}
			args = args[k+1:]
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
