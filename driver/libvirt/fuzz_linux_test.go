package libvirt

import (
	"encoding/xml"
	"slices"
	"testing"
)

// FuzzMark reads what might be the mark in a domain's metadata, which who may define
// domains can write.
func FuzzMark(f *testing.F) {
	f.Add(`<sf:machine xmlns:sf="https://shakenfist.com/go" owner="cloud/node"><sf:spec>{"ID":"x","CPUs":1}</sf:spec></sf:machine>`)
	f.Add(`<machine owner="a"><spec>{</spec></machine>`)
	f.Add(`<machine><spec>null</spec><spec>{}</spec></machine>`)
	f.Add(`<!DOCTYPE x [<!ENTITY a "&b;">]><machine owner="&a;"/>`)
	f.Fuzz(func(t *testing.T, text string) {
		if owner, s, err := parseMark(text); err != nil && s.ID != "" && owner == "" {
			t.Errorf("%q: %q, %+v, %v", text, owner, s, err)
		}
	})
}

// FuzzCapabilities reads what libvirtd might say of itself: nothing is offered that was
// not named, but for what goes without saying.
func FuzzCapabilities(f *testing.F) {
	f.Add(`<capabilities><host><secmodel><model>dac</model><baselabel type='kvm'>+64055:+108</baselabel></secmodel></host>`+
		`<guest><arch name='x86_64'><domain type='kvm'/></arch></guest></capabilities>`,
		`<domainCapabilities><os><loader><value>/x.fd</value></loader></os><devices><disk><enum name='bus'><value>virtio</value></enum></disk>`+
			`<video><enum name='modelType'><value>qxl</value></enum></video></devices></domainCapabilities>`)
	f.Add(`<capabilities><host><secmodel><model>dac</model><baselabel type='kvm'>+x:</baselabel></secmodel></host></capabilities>`, `<a/>`)
	f.Fuzz(func(t *testing.T, host, machine string) {
		var h hostCaps
		var m machineCaps
		if xml.Unmarshal([]byte(host), &h) != nil || xml.Unmarshal([]byte(machine), &m) != nil {
			return
		}
		p := &probe{user: -1, group: -1}
		h.runs("kvm")
		p.security(h)
		p.models(m)
		for _, bus := range p.Buses {
			if bus != "ide" && !slices.Contains(values(m.Disk, "bus"), bus) {
				t.Errorf("%q: %s", machine, bus)
			}
		}
	})
}
