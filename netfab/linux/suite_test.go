//go:build linux

package linux

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/netfabtest"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

const suiteTag = "netfabtest/node"

func TestFabric(t *testing.T) {
	need.Root(t)
	need.Program(t, "ip", "iproute2")
	need.Program(t, "nft", "nftables")
	netfabtest.Run(t, func(t *testing.T) netfabtest.Host {
		w := newWorld(t)
		return netfabtest.Host{
			Open: func(tag string, hook func(string) error) netfab.Fabric {
				return w.fabric(Config{Tag: tag, Hook: hook, Resync: -1})
			},
			Text:     w.text,
			Occupy:   w.occupy,
			Underlay: hostUplink.Addr(),
			Routes:   w.routes,
			Breaks:   w.breaks(),
		}
	})
}

// occupy makes a namespace with our name, as somebody else would.
func (w *world) occupy(tag string, vni uint32) {
	w.t.Helper()
	if err := netns.PrepareDir(w.dir); err != nil {
		w.t.Fatal(err)
	}
	if err := newNS(w.t).Mount(filepath.Join(w.dir, netfab.NamespaceName(tag, vni)), "not yours\n"); err != nil {
		w.t.Fatal(err)
	}
}

// changing are the parts of listings that differ between equal states: indexes,
// carrier, counters, timers.
var changing = regexp.MustCompile(`(?m)^\d+: |@if\d+|@[\w-]+| link-netns \S+| link-netnsid \S+| valid_lft.*| qlen \d+| state [A-Za-z]+|` +
	`NO-CARRIER,|,LOWER_UP| if\d+| linkdown| \w+_timer +[0-9.]+| tso_max_size \d+| port_id \S+ port_no \S+ designated_port \d+|` +
	`^33:33:.*`) // groups of IPv6, which are not left when it is turned off

// text is the host and every namespace in the directory, as the programs that
// operators use list them.
func (w *world) text() string {
	w.t.Helper()
	var b strings.Builder
	b.WriteString(w.list(w.host))
	entries, err := os.ReadDir(w.dir)
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		fmt.Fprintf(&b, "name %s\n", e.Name())
		ns, err := netns.Open(filepath.Join(w.dir, e.Name()))
		if err != nil {
			continue
		}
		b.WriteString(w.list(ns))
		ns.Close()
	}
	return b.String()
}

func (w *world) list(ns *netns.NS) string {
	w.t.Helper()
	var b strings.Builder
	for _, args := range [][]string{
		{"ip", "-d", "address", "show"}, {"ip", "route", "show", "table", "all"}, {"ip", "neigh", "show", "nud", "permanent"},
		{"bridge", "-d", "link", "show"}, {"bridge", "fdb", "show"}, {"nft", "-s", "list", "ruleset"},
	} {
		if err := ns.Do(func() error {
			out, err := runHere(exec.Command(args[0], args[1:]...))
			if err != nil {
				return fmt.Errorf("%v: %w: %s", args, err, out)
			}
			separator := "\n"
			if args[0] == "nft" { // its tables are listed in the order in which they were made
				separator = "\n}\n"
			}
			lines := strings.Split(changing.ReplaceAllString(string(out), ""), separator)
			slices.Sort(lines)
			lines = slices.DeleteFunc(lines, func(line string) bool {
				learned := args[1] == "fdb" && !strings.Contains(line, "permanent") && !strings.Contains(line, "static")
				return learned || strings.TrimSpace(line) == ""
			})
			fmt.Fprintf(&b, "%v\n%s\n", args, strings.Join(lines, "\n"))
			return nil
		}); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := ns.Do(func() error {
		for _, s := range sysctls(true) {
			value, _ := os.ReadFile("/proc/sys/net/" + s.Path)
			// The one thing that stays, and what the kernel sets along with it.
			stays := s.Path == "ipv4/ip_forward" || s.Path == "ipv4/conf/all/accept_redirects"
			if !stays || ns != w.host {
				fmt.Fprintf(&b, "%s %s", s.Path, value)
			}
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}
