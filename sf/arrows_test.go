package sf_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/shakenfist/cloud/"

// arrows says what each room may know beside the standard library, the first
// rule that matches a package counting. "X/..." is X and all below it; "local"
// means its own subpackages.
var arrows = []struct {
	pkg, why string
	may      []string
}{
	{"sf/spec", "the nouns are a leaf, so that everything may know them", nil},
	{"sf/sftest/need", "tests of every room use it", nil},
	{"sf/sftest", "simulates: it may know the fakes", []string{"sf/...", "store", "store/memory", "store/faulty", "driver", "driver/fake", "netfab", "netfab/fake"}},
	{"sf/internal/lifecycle", "pure", []string{"sf/spec", "driver"}},
	{"sf/internal/place", "pure", []string{"sf/spec"}},
	{"sf/internal/ipam", "pure", nil},
	{"sf/internal/layout", "pure", []string{"sf/spec", "driver"}},
	{"sf/internal/measure", "counts what a store is asked", []string{"store"}},
	{"sf/internal/reconcile", "knows keys, not what they name", nil},
	{"sf/v02", "pure: records of the original in, a plan out", []string{"sf/spec", "sf/internal/ipam", "sf/internal/layout", "driver", "golang.org/x/crypto/bcrypt"}},
	{"sf/internal/...", "works on the interfaces, and never knows sf", []string{"sf/spec", "sf/internal/...", "store", "driver", "netfab", "configdrive", "dhcpd", "dhcpd/dns"}},
	{"sf/api", "a codec over the library", []string{"sf", "sf/spec", "sf/api/...", "golang.org/x/crypto/...", "github.com/golang-jwt/jwt/v5", "github.com/coder/websocket"}},
	{"sf/client", "the same calls over HTTP: no cloud inside", []string{"sf/spec", "github.com/coder/websocket"}},
	{"sf/image/qcow2", "a file format", []string{"local", "github.com/klauspost/compress/...", "golang.org/x/sys/unix"}},
	{"sf/image", "makes what driver.Volumes asks for", []string{"driver", "sf/image/...", "golang.org/x/sys/...", "golang.org/x/sync/...", "github.com/klauspost/compress/...", "github.com/ulikunitz/xz/...", "github.com/kdomanski/iso9660"}},
	{"sf", "the library links interfaces, never implementations", []string{"sf/spec", "sf/internal/...", "store", "driver", "netfab", "configdrive", "dhcpd", "dhcpd/dns", "golang.org/x/crypto/bcrypt"}},
	{"store", "an interface: the standard library alone", nil},
	{"store/internal/modeltest", "a model to hold stores against, for tests", []string{"store", "pgregory.net/rapid"}},
	{"store/internal/...", "the core of memory and bolt", []string{"store", "store/internal/..."}},
	{"store/storetest", "the suite", []string{"store", "store/faulty"}},
	{"store/etcd", "an implementation knows its interface, and no other implementation", []string{"store", "local", "go.etcd.io/etcd/...", "google.golang.org/grpc/...", "go.uber.org/zap"}},
	{"store/...", "an implementation knows its interface, and no other implementation", []string{"store", "store/internal/...", "local", "go.etcd.io/bbolt/...", "golang.org/x/sys/..."}},
	{"driver", "an interface: the standard library alone", nil},
	{"driver/internal/...", "what implementations have in common, one noun a package", []string{"driver", "driver/internal/...", "golang.org/x/sys/..."}},
	{"driver/drivertest/...", "the suite, and the guest it boots", []string{"driver", "driver/drivertest/...", "sf/sftest/need", "sf/image/qcow2"}},
	{"driver/libvirt/libvirtd", "a libvirtd beside the machine's own", []string{"github.com/digitalocean/go-libvirt/...", "golang.org/x/sys/..."}},
	{"driver/libvirt/libvirttest", "a libvirtd of the tests' own", []string{"driver/libvirt/libvirtd", "sf/sftest/need"}},
	{"driver/libvirt", "an implementation knows its interface, and no other implementation", []string{"driver", "driver/internal/...", "local", "github.com/digitalocean/go-libvirt/...", "github.com/mdlayher/netlink/...", "golang.org/x/sys/..."}},
	{"driver/...", "an implementation knows its interface, and no other implementation", []string{"driver", "driver/internal/...", "local", "golang.org/x/sys/..."}},
	{"netfab", "an interface: the standard library alone", nil},
	{"netfab/...", "an implementation knows its interface, and no other implementation", []string{"netfab", "local", "golang.org/x/sys/...", "golang.org/x/net/bpf", "github.com/mdlayher/netlink/...", "github.com/jsimonetti/rtnetlink/v2/...", "github.com/google/nftables/..."}},
	{"configdrive/...", "a codec", []string{"local"}},
	{"configdrive", "a codec", []string{"configdrive/internal/..."}},
	{"dhcpd/dns", "a codec and its loops", []string{"golang.org/x/net/dns/dnsmessage"}},
	{"dhcpd", "a codec and a loop", []string{"github.com/insomniacslk/dhcp/...", "golang.org/x/net/bpf", "golang.org/x/sys/..."}},
	{"docs", "tests that hold the documents to the code", nil},
	{"cmd/sf-client", "runs anywhere: it knows the client only", []string{"local", "sf/client", "sf/spec", "github.com/spf13/...", "golang.org/x/term", "golang.org/x/sys/..."}},
	{"cmd/sfd/internal/doctor", "pure: it judges what others have looked at", []string{"netfab"}},
	{"cmd/...", "wires: it may know everything", []string{"..."}},
	{"examples/...", "wires: it may know everything", []string{"..."}},
}

// Every import of non-test code follows an arrow.
func TestArrows(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		seen++
		checkArrows(t, strings.TrimPrefix(p.ImportPath, module), p.Imports)
	}
	if seen < 20 {
		t.Fatalf("only %d packages were looked at", seen)
	}
}

func checkArrows(t *testing.T, pkg string, imports []string) {
	for _, rule := range arrows {
		if !under(pkg, rule.pkg) {
			continue
		}
		for _, imp := range imports {
			if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			if imp = strings.TrimPrefix(imp, module); !allowed(pkg, imp, rule.may) {
				t.Errorf("%s imports %s, but: %s (%s)", pkg, imp, rule.why, strings.Join(rule.may, ", "))
			}
		}
		return
	}
	t.Errorf("%s has no rule: add one, with its reason", pkg)
}

func allowed(pkg, imp string, may []string) bool {
	for _, m := range may {
		if m == "local" && strings.HasPrefix(imp, pkg+"/") || m == "..." || m != "local" && under(imp, m) {
			return true
		}
	}
	return false
}

// pure packages decide and never act: what they need of the world comes in as
// arguments.
var pure = []string{"internal/lifecycle", "internal/place", "internal/ipam", "internal/layout", "v02", "../configdrive", "../cmd/sfd/internal/doctor"}

func TestPurity(t *testing.T) {
	for _, dir := range pure {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", dir, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"\t\"os\"\n", "\"os/", "\"net\"\n", "\"syscall\"", "/rand\"", "time.Now(", "time.Sleep(", "\tgo func"} {
				if strings.Contains(string(text), bad) && !(bad == "\"net\"\n" && dir == "../configdrive") {
					t.Errorf("%s is in a pure package and has %q", file, bad)
				}
			}
		}
	}
}

// under reports whether a package is the one a pattern names, or below it.
func under(pkg, pattern string) bool {
	base, all := strings.CutSuffix(pattern, "/...")
	return pkg == base || all && strings.HasPrefix(pkg, base+"/")
}
