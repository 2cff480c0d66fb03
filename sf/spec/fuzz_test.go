package spec_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/spec"
)

// FuzzParse holds that the short and detailed forms of disks, interfaces and graphics
// cards are read or refused as what is wrong with the request, and that no form
// says what a validated spec cannot hold.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"8@cirros:0.5.1", "20", "@debian:12", "8@", "size=8,base=http://x/a,b=c,bus=ide,type=disk", "size=,", "=",
		"net@10.0.0.5", "network_uuid=n,address=10.0.0.5,macaddress=02:00:00:00:00:01,model=e1000,float=true", "model=cirrus,memory=16384", "memory=-1", "size=1,size=2",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		request := spec.InstanceSpec{Name: "x", CPUs: 1, MemoryMiB: 1}
		invalid := func(err error) bool {
			if err != nil && !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return err != nil
		}
		for _, parse := range []func(string) (spec.Disk, error){spec.ParseDisk, spec.ParseDiskSpec} {
			d, err := parse(s)
			if request.Disks = []spec.Disk{d}; invalid(err) || invalid(request.Validate()) {
				continue
			}
			if d.SizeGB < 0 || d.Base == "" && d.SizeGB == 0 || d.Base != "" && !strings.Contains(s, d.Base) {
				t.Errorf("%q: %+v", s, d)
			}
		}
		request.Disks = []spec.Disk{{SizeGB: 1}}
		for _, parse := range []func(string) (spec.InterfaceSpec, error){spec.ParseInterface, spec.ParseInterfaceSpec} {
			n, err := parse(s)
			if request.Interfaces = []spec.InterfaceSpec{n}; invalid(err) || invalid(request.Validate()) {
				continue
			}
			if a, err := netip.ParseAddr(n.Address); n.Network == "" || n.Address != "" && (err != nil || !a.Is4()) {
				t.Errorf("%q: %+v", s, n)
			}
		}
		request.Interfaces = nil
		v, err := spec.ParseVideo(s)
		if request.Video = v; !invalid(err) && !invalid(request.Validate()) && v.MemoryKiB < 0 {
			t.Errorf("%q: %+v", s, v)
		}
	})
}

// FuzzNames holds that what is taken as a MAC, a block, a name or a UUID can stand in
// a key of the store, a path and a command line as it is.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"02:00:00:ab:cd:ef", "02-00-00-ab-cd-ef", "10.0.0.0/24", "10.0.0.1/24", "::/64", "vm-1", "..", "a/b", "a\x00", "11111111-1111-4111-8111-111111111111"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if mac, err := spec.ParseMAC(s); err == nil && (mac != strings.ToLower(s) || len(mac) != 17) {
			t.Errorf("%q: %q", s, mac)
		}
		if p, err := spec.ParseNetblock(s); err == nil && (p != p.Masked() || !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 29) {
			t.Errorf("%q: %s", s, p)
		}
		if (spec.ValidHostname(s) || spec.ValidLabel(s) || spec.ValidUUID(s)) && (s == "" || s == ".." || strings.ContainsAny(s, "/\x00 \t\n\\\"'") || strconv.Quote(s) != `"`+s+`"`) {
			t.Errorf("%q is taken", s)
		}
	})
}

// FuzzAffinity holds that whatever metadata say, what is read of it is bounded.
func FuzzAffinity(f *testing.F) {
	for _, s := range []string{`{"tags": ["web"], "affinity": {"web": -10}}`, `{"tags": "[\"web\"]"}`, `{"tags": [1]}`, `{"affinity": {"x": 1e300}}`, `{"affinity": "{"}`, `{"tags": ["a", "a"]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var m spec.Metadata
		if json.Unmarshal([]byte(s), &m) != nil {
			return
		}
		tags, weights, err := spec.ParseAffinity(m)
		if err != nil {
			if !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if len(tags) > spec.MaxTags || len(weights) > spec.MaxTags {
			t.Errorf("%q: %v, %v", s, tags, weights)
		}
		for tag, w := range weights {
			if !spec.ValidLabel(tag) || w > spec.MaxWeight || w < -spec.MaxWeight {
				t.Errorf("%q: %s %d", s, tag, w)
			}
		}
	})
}
