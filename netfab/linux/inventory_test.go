//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/nft"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// Everything that two fabrics made is listed with its owner, what only looks like
// theirs without; what a fabric of a tag removes is what is listed as the tag's.
func TestInventory(t *testing.T) {
	nftPath := need.Program(t, "nft", "nftables")
	w := newWorld(t)
	w.nft(nftPath, "-f", "-", "table ip filter {\n chain FORWARD {\n type filter hook forward priority filter; policy drop;\n }\n }")
	one, two := w.fabric(Config{Tag: "cloud/one"}), w.fabric(Config{Tag: "cloud/two"})
	fenced := outside
	fenced.Fenced = true
	w.apply(one, netfab.Desired{Outside: fenced, Networks: []netfab.Network{network(1, 1)}})
	other := network(2, 1)
	other.Gateway = nil
	w.apply(two, netfab.Desired{Networks: []netfab.Network{other}})
	h := w.conn(w.host)
	w.do(h, rt.AddLink(rt.Link{Index: 50, Name: "sfo-abcdef"}, &rt.Bridge{}, 0)...)
	w.occupy("cloud/three", 3)
	crash := filepath.Join(w.dir, netfab.NamespaceName("cloud/two", 4))
	w.must(os.WriteFile(crash, []byte(two.names.networkAlias("lost")+"\n"), 0o444))

	list := func() string {
		t.Helper()
		all, err := one.Inventory(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, o := range all {
			t.Log(o)
			fmt.Fprintf(&b, "%q %s %s %s %s\n", o.Tag, o.Kind, o.Name, o.Part, o.Network)
		}
		return b.String()
	}
	short := one.names.short
	mine := `"cloud/one" device sfo-` + short + ` outside 
"cloud/one" device sfv` + short + `000001 router ` + network(1, 0).ID + `
"cloud/one" namespace sf-` + short + `-000001 network ` + network(1, 0).ID + `
"cloud/one" rules in ip filter FORWARD outside 
"cloud/one" table bridge sf-` + short + ` fence 
"cloud/one" table inet sf-` + short + ` outside 
`
	nobodys := `"" device sfo-abcdef  
"" namespace ` + netfab.NamespaceName("cloud/three", 3) + `  
`
	theirs := `"cloud/two" name ` + netfab.NamespaceName("cloud/two", 4) + ` network lost
"cloud/two" namespace ` + netfab.NamespaceName("cloud/two", 2) + ` network ` + other.ID + `
`
	if got, want := list(), nobodys+mine+theirs; got != want {
		t.Errorf("inventory:\n%swant:\n%s", got, want)
	}
	w.apply(two, netfab.Desired{})
	if got, want := list(), nobodys+mine; got != want {
		t.Errorf("one tag removed:\n%swant:\n%s", got, want)
	}
	w.apply(one, netfab.Desired{})
	if got := list(); got != nobodys {
		t.Errorf("both removed:\n%swant:\n%s", got, nobodys)
	}
}

// One thing goes and nothing else, and only with its owner's mark on it.
func TestRemove(t *testing.T) {
	w := newWorld(t)
	one, two := w.fabric(Config{Tag: "cloud/one"}), w.fabric(Config{Tag: "cloud/two"})
	w.apply(one, netfab.Desired{Outside: outside, Networks: []netfab.Network{network(1, 1), network(2, 1)}})
	other := network(3, 1)
	other.Gateway = nil
	w.apply(two, netfab.Desired{Networks: []netfab.Network{other}})
	h := w.conn(w.host)
	w.do(h, rt.AddLink(rt.Link{Index: 50, Name: "odd0", Alias: one.names.mark() + " what is this"}, &rt.Bridge{}, 0)...)
	conn, err := nft.Dial(w.host.Fd(), one.names.mark())
	w.must(err)
	defer conn.Close()
	w.must(conn.Build(nft.Table{Family: nftables.TableFamilyIPv4, Name: "odd", Chains: []nft.Chain{{Name: "c", Rules: []nft.Rule{nft.Accept()}}}}))
	w.must(os.WriteFile(filepath.Join(w.dir, netfab.NamespaceName("cloud/one", 9)), []byte(one.names.networkAlias("lost")+"\n"), 0o444))

	list := func() (all []netfab.Owned) {
		t.Helper()
		all, err := two.Inventory(t.Context())
		w.must(err)
		return all
	}
	for _, o := range list() {
		if o.Tag == "cloud/one" {
			if err := two.Remove(t.Context(), o); !errors.Is(err, netfab.ErrForeign) {
				t.Errorf("another's %s %s: %v", o.Kind, o.Name, err)
			}
		}
	}
	before := len(list())
	changed := list()[0]
	changed.Network = "another by now"
	if err := one.Remove(t.Context(), changed); !errors.Is(err, netfab.ErrForeign) {
		t.Errorf("something else under the name: %v", err)
	}
	if n := len(list()); n != before {
		t.Fatalf("%d things became %d", before, n)
	}
	for _, o := range list() {
		if o.Tag != "cloud/one" {
			continue
		}
		before := len(list())
		for range 2 {
			if err := one.Remove(t.Context(), o); err != nil {
				t.Errorf("%s %s: %v", o.Kind, o.Name, err)
			}
		}
		want := before - 1
		if o.Part == netfab.PartNetwork && o.Kind == "namespace" { // its router's other end goes with it, or went before
			want = len(list())
		}
		if after := list(); len(after) != want || slices.Contains(after, o) {
			t.Errorf("%s %s: %d things became %d: %v", o.Kind, o.Name, before, len(after), after)
		}
	}
	for _, o := range list() {
		if o.Tag != "cloud/two" || o.Network != other.ID {
			t.Errorf("left: %+v", o)
		}
	}
	if len(list()) != 1 {
		t.Errorf("the other's: %+v", list())
	}
}
