package libvirt

import (
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const testID = "0b7f0e9c-61b4-4b0e-a9a5-2f6f0b9d1c11"

func testSpec() driver.Spec {
	return driver.Spec{
		ID: testID, Name: "web", CPUs: 1, MemoryMiB: 512, Dir: "/srv/i/" + testID,
		Disks: []driver.Disk{{Device: "vda", Path: "/srv/i/vda", Format: "qcow2", Bus: "virtio"}},
		Video: driver.Video{Model: "cirrus", MemoryKiB: 16384},
	}
}

// blueprints are the definitions kept as golden files: what a domain looks like
// is to change only where somebody wants it to.
var blueprints = map[string]func() blueprint{
	"plain": func() blueprint {
		return blueprint{Spec: testSpec(), Owner: "shakenfist", Accel: "kvm"}
	},
	"disks": func() blueprint {
		s := testSpec()
		s.Disks = []driver.Disk{
			{Device: "vda", Path: "/srv/i/vda", Format: "qcow2", Bus: "virtio", Serial: "boot"},
			{Device: "vdb", Path: "/srv/i/vdb", Format: "raw", Bus: "virtio", ReadOnly: true},
			{Device: "hda", Path: "/srv/i/hda", Format: "raw", Bus: "ide"},
			{Device: "hdb", Path: "/srv/i/hdb", Format: "raw", Bus: "ide", ReadOnly: true},
			{Device: "hdc", Path: "/srv/i/cd", Format: "raw", Bus: "ide", CDROM: true},
			{Device: "sda", Path: "/srv/i/sda", Format: "qcow2", Bus: "scsi"},
			{Device: "sdb", Path: "/srv/i/sdb", Format: "qcow2", Bus: "sata"},
			{Device: "sdc", Path: "/srv/i/sdc", Format: "qcow2", Bus: "usb"},
		}
		chains := make([][]layer, len(s.Disks))
		chains[0] = []layer{{Path: "/srv/i/middle", Format: "qcow2"}, {Path: "/srv/cache/image", Format: "raw", Common: true}}
		return blueprint{Spec: s, Owner: "shakenfist", Accel: "tcg", Chains: chains}
	},
	"network": func() blueprint {
		s := testSpec()
		s.Video = driver.Video{Model: "none"}
		s.NICs = []driver.NIC{
			{Tap: "sf-t1", NetNS: "/run/netns/n", MAC: "02:00:00:ab:cd:ef", Model: "virtio", MTU: 1450},
			{Tap: "sf-t2", MAC: "02:00:00:ab:cd:f0", Model: "e1000", MTU: 1450},
		}
		return blueprint{Spec: s, Owner: "shakenfist", Accel: "tcg", Taps: []string{awayName(testID, 0), "sf-t2"}}
	},
	"uefi": func() blueprint {
		s := testSpec()
		s.UEFI, s.CPUs, s.Video = true, 4, driver.Video{Model: "virtio"}
		return blueprint{Spec: s, Owner: "shakenfist", Accel: "kvm", Loader: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"}
	},
	"hostile": func() blueprint {
		s := testSpec()
		s.Name = `</title><devices>&amp;"'` + "é"
		s.Disks[0].Path = `/srv/i/a"b<c>&d`
		return blueprint{Spec: s, Owner: "shakenfist", Accel: "kvm"}
	},
}

func TestDocument(t *testing.T) {
	for name, get := range blueprints {
		t.Run(name, func(t *testing.T) {
			got, err := document(get())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".xml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s (go test -update, and look at the difference):\n%s", path, got)
			}
		})
	}
}

// The Spec comes out of a definition as it went in, whatever is in its texts.
func TestMark(t *testing.T) {
	for name, get := range blueprints {
		b := get()
		text, err := document(b)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Mark struct {
				Inner string `xml:",innerxml"`
			} `xml:"metadata"`
		}
		if err := xml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		owner, spec, err := parseMark(d.Mark.Inner)
		if err != nil || owner != b.Owner || !spec.Equal(b.Spec) {
			t.Errorf("%s: got %q, %+v, %v", name, owner, spec, err)
		}
	}
	if _, _, err := parseMark("<sf:machine owner='x'><sf:spec>{</sf:spec></sf:machine>"); err == nil {
		t.Error("a broken mark is nil")
	}
}

func TestCheckRoom(t *testing.T) {
	disks := func(bus string, n int) func(*driver.Spec) {
		return func(s *driver.Spec) {
			for i := range n {
				s.Disks = append(s.Disks, driver.Disk{Device: fmt.Sprintf("x%d", i), Path: "/x", Format: "raw", Bus: bus})
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*driver.Spec)
		want   string // in the error; empty for none
	}{
		{"plain", func(*driver.Spec) {}, ""},
		{"four on ide", disks("ide", 4), ""},
		{"five on ide", disks("ide", 5), "at most 4"},
		{"seven on sata", disks("sata", 7), "at most 6"},
		{"many on scsi", disks("scsi", 30), ""},
		{"many on virtio", disks("virtio", 20), "at most 20"},
		{"serial", func(s *driver.Spec) { s.Disks[0].Serial = `a"b` }, "Disks[0].Serial"},
		{"dir", func(s *driver.Spec) { s.Dir = "/" + strings.Repeat("x", 100) }, "Dir"},
		{"tap", func(s *driver.Spec) { s.NICs = []driver.NIC{{Tap: "sfv0"}} }, "sfv"},
	} {
		s := testSpec()
		tt.change(&s)
		err := checkRoom(s)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestTarget(t *testing.T) {
	names := map[string]int{}
	var last string
	seen := map[string]bool{}
	for range 26 + 26*26 + 1 {
		last = target("scsi", names)
		if seen[last] {
			t.Fatalf("%s twice", last)
		}
		seen[last] = true
	}
	if !seen["sda"] || !seen["sdz"] || !seen["sdaa"] || last != "sdaaa" {
		t.Errorf("the last of them is %s", last)
	}
}
