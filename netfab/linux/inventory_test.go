//go:build linux

package linux

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/netfab"
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
			fmt.Fprintf(&b, "%q %s %s %s\n", o.Tag, o.Kind, o.Name, o.Network)
		}
		return b.String()
	}
	short := one.names.short
	mine := `"cloud/one" device sfo-` + short + ` 
"cloud/one" device sfv` + short + `000001 ` + network(1, 0).ID + `
"cloud/one" namespace sf-` + short + `-000001 ` + network(1, 0).ID + `
"cloud/one" rules in ip filter FORWARD 
"cloud/one" table bridge sf-` + short + ` 
"cloud/one" table inet sf-` + short + ` 
`
	nobodys := `"" device sfo-abcdef 
"" namespace ` + netfab.NamespaceName("cloud/three", 3) + ` 
`
	theirs := `"cloud/two" name ` + netfab.NamespaceName("cloud/two", 4) + ` lost
"cloud/two" namespace ` + netfab.NamespaceName("cloud/two", 2) + ` ` + other.ID + `
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
