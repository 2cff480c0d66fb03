package configdrive

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// FuzzBuild: what is accepted arrives as it was given.
func FuzzBuild(f *testing.F) {
	f.Add("name", "host", "zone", "ssh-rsa A\nssh-rsa B", "{}", "02:00:00:00:00:01", []byte("#!/bin/sh"))
	f.Add("größe", "<&>", "\u2028", "#", `[1, "\u0000"]`, "02:00:00:00:00:FF", []byte{0, 0xff})
	f.Fuzz(func(t *testing.T, name, host, zone, key, vendor, mac string, user []byte) {
		c := Config{
			UUID: uuid, Name: name, Hostname: host, Zone: zone, SSHKeys: []string{key},
			VendorData: json.RawMessage(vendor), UserData: user, RandomSeed: user,
			Interfaces: []Interface{{UUID: "u", Network: netA, MAC: mac}},
		}
		image, err := Build(c)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		d := read(t, image)
		m, err := d.MetaData()
		if err != nil {
			t.Fatal(err)
		}
		if m.Name != name || host != "" && m.Hostname != host || m.AvailabilityZone != zone || !bytes.Equal(m.RandomSeed, user) {
			t.Errorf("%+v from %+v", m, c)
		}
		if got, ok := d.UserData(); ok != (user != nil) || !bytes.Equal(got, user) {
			t.Errorf("user data %q from %q", got, user)
		}
		if !json.Valid(d.Files[Dated+"/vendor_data.json"]) {
			t.Errorf("vendor data %q", d.Files[Dated+"/vendor_data.json"])
		}
	})
}
