package sf_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ownTime are the files that take the time, wait, or draw lots by themselves, each with
// the reason why nobody gives them a clock or a source of chance to do so. All others
// are given them: the simulator depends on it.
var ownTime = map[string]string{
	"sf/internal/reconcile/clock.go":       "it is the clock that others are given",
	"sf/sftest/sftest.go":                  "waits in tests, for a cloud on the machine's clock",
	"sf/keys.go":                           "secrets that never leave the process, and decide nothing",
	"sf/api/api.go":                        "what a Config without a way to wait, an ID or a secret gets",
	"sf/image/cache.go":                    "what a Config without a way to wait gets",
	"sf/image/httperr.go":                  "gives up a connection that is silent",
	"sf/client/client.go":                  "a program of its own: what a Config without a way to wait gets",
	"sf/client/follow.go":                  "gives up a connection that is silent",
	"driver/qemu/hypervisor_linux.go":      "looks after real processes, which keep the real time",
	"driver/qemu/kvm_linux_amd64.go":       "gives up a processor that hangs",
	"driver/qemu/session_linux.go":         "waits for real processes",
	"driver/qemu/jobs_linux.go":            "looks after real processes",
	"driver/libvirt/watch_linux.go":        "looks after a real libvirtd",
	"driver/libvirt/conn_linux.go":         "gives up a libvirtd that hangs",
	"driver/libvirt/lifecycle_linux.go":    "gives up a guest that does not shut down",
	"driver/libvirt/libvirtd/":             "waits for a real libvirtd",
	"driver/internal/notes/notes_linux.go": "waits for another process's lock",
	"driver/drivertest/":                   "a suite for real hypervisors",
	"driver/drivertest/pc/":                "a suite for real hypervisors",
	"netfab/netfabtest/":                   "a suite for real hosts",
	"store/storetest/":                     "a suite for real stores",
	"store/etcd/":                          "its other side is a server with a clock of its own",
	"store/faulty/":                        "its delays are part of its Config, its chance is seeded",
	"store/internal/engine/":               "waits on behalf of a Watcher; sessions live by the clock it is given",
}

// clocks are the functions that ask the machine for the time, or wait for it.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// TestClocks finds hidden clocks and sources of chance in what programs are made of.
// Deadlines of connections are exempt, since the kernel counts them by its own clock,
// and so is naming a function without calling it, as a default for who gives none.
func TestClocks(t *testing.T) {
	used := map[string]bool{}
	for _, root := range []string{"sf", "store", "driver", "netfab", "configdrive", "dhcpd"} {
		err := filepath.WalkDir("../"+root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(file), "../")
			for _, call := range hiddenTime(t, file) {
				reason := name
				if ownTime[reason] == "" {
					reason = path.Dir(name) + "/"
				}
				if used[reason] = ownTime[reason] != ""; !used[reason] {
					t.Errorf("%s calls %s: take a clock, or a source of chance, as an argument, or say here why not", name, call)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range ownTime {
		if !used[name] {
			t.Errorf("%s has no clock of its own any more: remove it here", name)
		}
	}
}

// hiddenTime returns the calls in a file that depend on the machine's clock or chance.
func hiddenTime(t *testing.T, name string) (calls []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]string{} // by the name that the file has for them
	for _, i := range file.Imports {
		imported := strings.Trim(i.Path.Value, `"`)
		as := path.Base(strings.TrimSuffix(imported, "/v2"))
		if i.Name != nil {
			as = i.Name.Name
		}
		packages[as] = imported
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if strings.HasPrefix(f.Sel.Name, "Set") && strings.HasSuffix(f.Sel.Name, "Deadline") {
			return false
		}
		of, ok := f.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch imported := packages[of.Name]; {
		case imported == "time" && slices.Contains(clocks, f.Sel.Name):
		case strings.HasSuffix("/"+strings.TrimSuffix(imported, "/v2"), "/rand") && !strings.HasPrefix(f.Sel.Name, "New"):
		default:
			return true
		}
		calls = append(calls, of.Name+"."+f.Sel.Name)
		return true
	})
	return calls
}
