package api

import (
	"encoding/base64"

	"github.com/shakenfist/cloud/sf/spec"
)

// instanceSpec decodes the arguments of a create. An empty string means not
// given, as do null and absence; a size may be a string of digits.
func (q *request) instanceSpec() (spec.InstanceSpec, error) {
	a := q.args
	for _, required := range []string{"name", "cpus", "memory"} {
		if !a.given(required) {
			return spec.InstanceSpec{}, a.missing("missing " + required + " in request")
		}
	}
	s := spec.InstanceSpec{
		Name:      a.text("name"),
		CPUs:      a.number("cpus"),
		MemoryMiB: a.number("memory"),
		SSHKey:    a.text("ssh_key"),
		PlacedOn:  a.text("placed_on"),
		UEFI:      a.flag("uefi"),
		UserData:  a.base64("user_data"),
		Disks:     a.disks(),

		Interfaces: a.interfaces(),
		Video:      a.video(),
		Metadata:   a.metadata(),
	}
	a.inert()
	a.flag("dry_run") // see dry
	return s, a.err
}

// inert accepts arguments of newer clients as long as they ask for nothing, and
// the seed's instance_uuid, which only the cloud chooses.
func (a *args) inert() {
	if a.text("instance_uuid") != "" {
		a.fail("instance_uuid cannot be chosen: the cloud makes it (an Idempotency-Key header makes a repeated create safe)")
	}
	if a.text("nvram_template") != "" {
		a.fail("nvram_template is not supported: leave it out")
	}
	if a.flag("secure_boot") {
		a.fail("secure_boot is not supported: leave it out or say false")
	}
}

func (a *args) disks() []spec.Disk {
	var disks []spec.Disk
	for _, d := range a.list("disk", "disk") {
		d.only("size base bus type")
		disks = append(disks, spec.Disk{SizeGB: d.number("size"), Base: d.text("base"), Bus: d.text("bus"), Type: d.text("type")})
		d.merge(a)
	}
	return disks
}

func (a *args) interfaces() []spec.InterfaceSpec {
	var nics []spec.InterfaceSpec
	for _, n := range a.list("network", "network") {
		n.only("network_uuid address macaddress model float")
		nics = append(nics, spec.InterfaceSpec{
			Network: n.text("network_uuid"), Address: n.text("address"), MAC: n.text("macaddress"), Model: n.text("model"),
			Float: n.flag("float"),
		})
		n.merge(a)
	}
	return nics
}

func (a *args) video() spec.Video {
	if !a.given("video") || string(a.values["video"]) == `""` {
		return spec.Video{}
	}
	v := a.object("video", a.values["video"])
	v.only("model memory")
	video := spec.Video{Model: v.text("model"), MemoryKiB: v.number("memory")}
	v.merge(a)
	return video
}

func (a *args) metadata() spec.Metadata {
	if !a.given("metadata") {
		return nil
	}
	o := a.object("metadata", a.values["metadata"])
	m := spec.Metadata{}
	for key := range o.values {
		m[key] = o.any(key)
	}
	return m
}

// merge hands the first error of an inner object to the outer one.
func (a *args) merge(outer *args) {
	if outer.err == nil {
		outer.err = a.err
	}
}

func (a *args) base64(name string) []byte {
	data, err := base64.StdEncoding.DecodeString(a.text(name))
	if err != nil {
		a.fail("%s is not valid base64: %v", name, err)
		return nil
	}
	if len(data) == 0 {
		return nil
	}
	return data
}
