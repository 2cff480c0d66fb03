package configdrive

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	uuid = "0b6a7b0c-4f43-4e64-8ab5-6e1d34fb2a6e"
	netA = "aaaaaaaa-75be-4a32-9b0c-3f1d1a2f0001"
	netB = "bbbbbbbb-75be-4a32-9b0c-3f1d1a2f0002"
)

// nic is the i-th interface, on network, with an address and its prefix length.
func nic(i int, network, addr string) Interface {
	n := Interface{
		UUID:    fmt.Sprintf("cccccccc-75be-4a32-9b0c-3f1d1a2f%04d", i),
		Network: network,
		MAC:     fmt.Sprintf("02:00:00:AB:cd:%02x", i),
		MTU:     1450,
	}
	if addr != "" {
		n.Addr = netip.MustParsePrefix(addr)
		n.Gateway = n.Addr.Masked().Addr().Next()
	}
	return n
}

func routed(n Interface) Interface {
	n.DefaultRoute = true
	return n
}

// configs are the golden cases, by name of their file.
func configs() map[string]Config {
	dns := []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("192.168.1.53")}
	return map[string]Config{
		"bare": {UUID: uuid, Name: "bare"},
		"one": {
			UUID: uuid, Name: "one", Zone: "shaken_fist", DNS: dns[:1],
			SSHKeys:    []string{"ssh-ed25519 AAAAC3Nz <me> & \"you\"@host"},
			UserData:   []byte("#!/bin/sh\necho hello\n"),
			RandomSeed: bytes.Repeat([]byte{0, 0xff, 7}, 20),
			Interfaces: []Interface{routed(nic(0, netA, "192.168.242.5/24"))},
			Created:    time.Date(2026, 11, 23, 10, 28, 59, 0, time.UTC),
		},
		// The second interface on a network has its address too, and there is one default route.
		"same_network": {
			UUID: uuid, Name: "twice", DNS: dns,
			Interfaces: []Interface{routed(nic(0, netA, "10.0.0.5/8")), routed(nic(1, netA, "10.200.0.6/8"))},
		},
		// The network with NAT comes second; the third card has no address.
		"second_routed": {
			UUID: uuid, Name: "many",
			Interfaces: []Interface{nic(0, netA, "192.168.1.9/28"), routed(nic(1, netB, "192.168.2.10/30")), nic(2, netA, "")},
		},
		"not_ascii": {
			UUID: uuid, Name: "größe-日本", Hostname: "groesse.example.org", Zone: "zürich",
			SSHKeys:    []string{"ssh-rsa AAAA ünï", "# two\nssh-rsa BBBB\n\nssh-rsa CCCC\n"},
			VendorData: json.RawMessage(`{"cloud-init": "#cloud-config\nmanage_etc_hosts: true"}`),
			UserData:   []byte{}, // present, and empty
		},
	}
}

func build(t testing.TB, c Config) []byte {
	t.Helper()
	image, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func read(t testing.TB, image []byte) *Drive {
	t.Helper()
	d, err := Read(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// printed is a drive as text: each file of the latest directory under its name.
func printed(d *Drive) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(d.Files)) {
		if name, ok := strings.CutPrefix(path, Latest+"/"); ok {
			fmt.Fprintf(&b, "== %s\n%s\n", name, bytes.TrimSuffix(d.Files[path], []byte("\n")))
		}
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, c := range configs() {
		t.Run(name, func(t *testing.T) {
			got := printed(read(t, build(t, c)))
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error("(-want +got; -update accepts):", diff)
			}
		})
	}
}

// Both directories are the same, so that neither hides anything of the other.
func TestDirectories(t *testing.T) {
	for name, c := range configs() {
		d := read(t, build(t, c))
		if d.Label != "config-2" {
			t.Errorf("%s: label %q", name, d.Label)
		}
		latest, dated := 0, 0
		for path, data := range d.Files {
			file, ok := strings.CutPrefix(path, Latest+"/")
			if !ok {
				dated++
				continue
			}
			latest++
			if other, ok := d.Files[Dated+"/"+file]; !ok || !bytes.Equal(other, data) {
				t.Errorf("%s: %s of the dated directory is missing or differs", name, file)
			}
		}
		want := 4
		if c.UserData != nil {
			want = 5
		}
		if latest != want || dated != want {
			t.Errorf("%s: %d and %d files, want %d", name, latest, dated, want)
		}
	}
}

func TestReadDocuments(t *testing.T) {
	c := configs()["one"]
	d := read(t, build(t, c))
	m, err := d.MetaData()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.metaData(), m); diff != "" {
		t.Error("meta data (-want +got):", diff)
	}
	if !bytes.Equal(m.RandomSeed, c.RandomSeed) || m.Hostname != "one.local" {
		t.Errorf("random seed %x, hostname %s", m.RandomSeed, m.Hostname)
	}
	n, err := d.NetworkData()
	if err != nil {
		t.Fatal(err)
	}
	addr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(c.networkData(), n, addr); diff != "" {
		t.Error("network data (-want +got):", diff)
	}
	if u, ok := d.UserData(); !ok || !bytes.Equal(u, c.UserData) {
		t.Errorf("user data %q, %v", u, ok)
	}
	if _, ok := read(t, build(t, configs()["bare"])).UserData(); ok {
		t.Error("user data where none was given")
	}
}

func TestReadRefuses(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 1<<20)} {
		if _, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrFormat) {
			t.Errorf("%d zeros: error %v, want ErrFormat", len(b), err)
		}
	}
	d := &Drive{Files: map[string][]byte{Latest + "/meta_data.json": []byte("{")}}
	if _, err := d.MetaData(); !errors.Is(err, ErrFormat) {
		t.Errorf("half a document: error %v, want ErrFormat", err)
	}
	if _, err := d.NetworkData(); !errors.Is(err, ErrFormat) {
		t.Errorf("no document: error %v, want ErrFormat", err)
	}
}

func TestReproducible(t *testing.T) {
	for name := range configs() {
		if !bytes.Equal(build(t, configs()[name]), build(t, configs()[name])) {
			t.Errorf("%s: two drives from one Config differ", name)
		}
	}
}

// randomBytes are the same in each run, and contain every byte value.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestLargeUserData(t *testing.T) {
	for _, size := range []int{1, 2047, 2048, 2049, 1 << 20, 5<<20 + 1} {
		c := configs()["one"]
		c.UserData = randomBytes(size)
		image := build(t, c)
		if got, _ := read(t, image).UserData(); !bytes.Equal(got, c.UserData) {
			t.Errorf("%d bytes of user data come back as %d others", size, len(got))
		}
		if overhead := len(image) - size; overhead > 80<<10 {
			t.Errorf("%d bytes of user data make a drive of %d: are they there twice?", size, len(image))
		}
	}
}

func TestRefused(t *testing.T) {
	v6 := netip.MustParseAddr("2001:db8::1")
	for name, edit := range map[string]func(c *Config){
		"no uuid":              func(c *Config) { c.UUID = "" },
		"no name":              func(c *Config) { c.Name = "" },
		"name of two lines":    func(c *Config) { c.Name = "a\nb" },
		"name not UTF-8":       func(c *Config) { c.Name = "\xff" },
		"hostname with escape": func(c *Config) { c.Hostname = "a\x1b[2J" },
		"key not UTF-8":        func(c *Config) { c.SSHKeys = []string{"\xff"} },
		"vendor data":          func(c *Config) { c.VendorData = json.RawMessage("{") },
		"dns":                  func(c *Config) { c.DNS = []netip.Addr{v6} },
		"dns zero":             func(c *Config) { c.DNS = []netip.Addr{{}} },
		"year":                 func(c *Config) { c.Created = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"mac short":            func(c *Config) { c.Interfaces[0].MAC = "02:00:00:ab:cd" },
		"mac letters":          func(c *Config) { c.Interfaces[0].MAC = "02:00:00:ab:cd:eg" },
		"mac dashes":           func(c *Config) { c.Interfaces[0].MAC = "02-00-00-ab-cd-ef" },
		"mac twice":            func(c *Config) { c.Interfaces[1].MAC = strings.ToUpper(c.Interfaces[0].MAC) },
		"nic without uuid":     func(c *Config) { c.Interfaces[0].UUID = "" },
		"nic without network":  func(c *Config) { c.Interfaces[0].Network = "" },
		"mtu":                  func(c *Config) { c.Interfaces[0].MTU = 67 },
		"mtu large":            func(c *Config) { c.Interfaces[0].MTU = 65536 },
		"address v6":           func(c *Config) { c.Interfaces[0].Addr = netip.PrefixFrom(v6, 64) },
		"address bits":         func(c *Config) { c.Interfaces[0].Addr = netip.PrefixFrom(netip.MustParseAddr("10.0.0.5"), 33) },
		"gateway v6":           func(c *Config) { c.Interfaces[0].Gateway = v6 },
		"gateway elsewhere":    func(c *Config) { c.Interfaces[0].Gateway = netip.MustParseAddr("11.0.0.1") },
		"gateway is itself":    func(c *Config) { c.Interfaces[0].Gateway = c.Interfaces[0].Addr.Addr() },
		"route, no gateway":    func(c *Config) { c.Interfaces[0].Gateway = netip.Addr{} },
	} {
		c := configs()["same_network"]
		edit(&c)
		if _, err := Build(c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}
