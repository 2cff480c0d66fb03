package v02_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/sf/v02"
)

const (
	netA = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	netB = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	vm1  = "11111111-1111-4111-8111-111111111111"
	vm2  = "22222222-2222-4222-8222-222222222222"
	nic1 = "f1111111-ffff-4fff-8fff-ffffffffffff"
	nic2 = "f2222222-ffff-4fff-8fff-ffffffffffff"
	nic3 = "f3333333-ffff-4fff-8fff-ffffffffffff"
	// of "secret"
	hash = "JDJiJDA0JHNZMWtxT2dMSEFvUVJsdVNsQ0tkUC5wYnMyaW9ZUlJ5OFFkd1ExTjhHcnRMRzVodnVKSkZL"
)

// store is a store of the original's: values by key.
type store map[string]any

// o is an object of a record; set changes members, nil removes one.
type o map[string]any

func (r o) set(members ...any) o {
	out := o{}
	for k, v := range r {
		out[k] = v
	}
	for i := 0; i < len(members); i += 2 {
		if out[members[i].(string)] = members[i+1]; members[i+1] == nil {
			delete(out, members[i].(string))
		}
	}
	return out
}

func namespace(name string) o { return o{"name": name, "keys": o{"deploy": hash}} }

func network(id string, vxid int) o {
	return o{"uuid": id, "vxid": vxid, "netblock": "10.0.0.0/24", "provide_dhcp": true, "provide_nat": true, "namespace": "demo",
		"floating_gateway": fmt.Sprintf("192.168.20.%d", 70+vxid), "name": "net", "state": "created", "state_updated": 1601091234.56}
}

func nic(id, network, instance, address, mac string) o {
	return o{"uuid": id, "network_uuid": network, "instance_uuid": instance, "macaddr": mac, "ipv4": address, "order": 0,
		"floating": nil, "state": "created", "state_updated": 1601091239.9, "model": "virtio"}
}

func instance(id string) o {
	return o{"uuid": id, "name": "vm1", "cpus": 1, "memory": 2048, "disk_spec": []any{o{"size": 8, "base": "cirros", "bus": nil, "type": "disk"}},
		"ssh_key": nil, "node": "sf-2", "console_port": 31839, "vdi_port": 34442, "user_data": nil,
		"block_devices": o{"finalized": true, "devices": []any{
			o{"type": "qcow2", "size": 8, "device": "vda", "bus": "virtio", "path": "/srv/shakenfist/instances/" + id + "/vda.qcow2", "base": "cirros", "present_as": "disk"},
			o{"type": "raw", "device": "vdb", "bus": "virtio", "path": "/srv/shakenfist/instances/" + id + "/vdb.raw", "present_as": "disk"},
		}},
		"state": "created", "state_updated": 1601091240.1, "namespace": "demo", "power_state": "on",
		"video": o{"model": "cirrus", "memory": 16384}}
}

// one is a cloud with one of each.
func one() store {
	return store{
		"namespace/demo": namespace("demo"), "namespace/system": namespace("system"),
		"network/floating": o{"uuid": "floating", "vxid": 0, "netblock": "192.168.20.0/24", "provide_dhcp": false, "provide_nat": false,
			"namespace": nil, "floating_gateway": nil, "name": "floating", "state": "initial", "state_updated": 1.5},
		"network/" + netA: network(netA, 1), "instance/" + vm1: instance(vm1),
		"networkinterface/" + nic1: nic(nic1, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9"),
		"ipmanager/" + netA:        o{"ipmanager.v1": o{"ipblock": "10.0.0.0/24", "in_use": []any{"10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.0.9"}}},
		"node/sf-2":                o{"fqdn": "sf-2", "ip": "10.0.0.12", "lastseen": 1601091234.5, "version": "0.2.6"},
	}
}

func (s store) with(key string, value any) store {
	s[key] = value
	return s
}

// records are the store as the original writes it; text goes in as it is.
func (s store) records() []v02.Record {
	var all []v02.Record
	for key, value := range s {
		text, ok := value.(string)
		if !ok {
			b, err := json.MarshalIndent(value, "", "    ")
			if err != nil {
				panic(err)
			}
			text = string(b)
		}
		all = append(all, v02.Record{Key: v02.Root + key, Value: []byte(text)})
	}
	return all
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Everything that a sound record says is in the plan.
func TestRead(t *testing.T) {
	s := one()
	s["metadata/instance/"+vm1] = o{"owner": "me", "n": json.Number("1"), "list": []any{"x"}}
	s["metadata/network/"+netA] = o{"a": "b"}
	s["metadata/namespace/demo"] = o{"c": "d"}
	s["networkinterface/"+nic1] = nic(nic1, netA, vm1, "10.0.0.9", "00:00:00:A8:58:F9").set("floating", "192.168.20.9", "order", 1, "model", "e1000")
	s["networkinterface/"+nic2] = nic(nic2, netA, vm1, "10.0.0.10", "00:00:00:a8:58:fa")
	s["instance/"+vm1] = instance(vm1).set("cpus", "2", "ssh_key", "ssh-rsa AAAA", "user_data", "IyEvYmluL3No", "power_state", "off",
		"disk_spec", []any{o{"size": "8", "base": "cirros"}, o{"size": 3, "bus": "ide", "type": "disk"}, o{"base": "http://x/y.iso", "type": "cdrom"}},
		"block_devices", o{"devices": []any{
			o{"type": "qcow2", "device": "sda", "bus": "scsi", "present_as": "disk"}, o{"type": "raw", "device": "sdb", "bus": "scsi", "present_as": "disk"},
			o{"type": "qcow2", "device": "hdc", "bus": "ide", "present_as": "disk"}, o{"type": "raw", "device": "hdd", "bus": "ide", "present_as": "cdrom"}}})
	got := v02.Read(s.records(), v02.Options{})
	b64 := got.Namespaces[0].Keys["deploy"]
	want := &v02.Plan{
		Floating: netip.MustParsePrefix("192.168.20.0/24"),
		Namespaces: []v02.Namespace{
			{Name: "demo", Keys: map[string][]byte{"deploy": b64}, Metadata: spec.Metadata{"c": "d"}},
			{Name: "system", Keys: map[string][]byte{"deploy": b64}},
		},
		Networks: []v02.Network{{UUID: netA, Namespace: "demo", VNI: 1, Gateway: addr("192.168.20.71"), Metadata: spec.Metadata{"a": "b"},
			Spec: spec.NetworkSpec{Name: "net", Netblock: "10.0.0.0/24", DHCP: true, NAT: true}}},
		Instances: []v02.Instance{{
			UUID: vm1, Namespace: "demo", Node: "sf-2", Power: spec.PowerOff,
			Spec: spec.InstanceSpec{Name: "vm1", CPUs: 2, MemoryMiB: 2048, SSHKey: "ssh-rsa AAAA", UserData: []byte("#!/bin/sh"),
				Disks: []spec.Disk{{SizeGB: 8, Base: "cirros", Bus: "scsi"}, {SizeGB: 3, Bus: "ide", Type: "disk"}, {Base: "http://x/y.iso", Type: "cdrom"}},
				Video: spec.Video{Model: "cirrus", MemoryKiB: 16384}, Metadata: spec.Metadata{"owner": "me", "n": json.Number("1"), "list": []any{"x"}},
				Interfaces: []spec.InterfaceSpec{
					{Network: netA, Address: "10.0.0.10", MAC: "00:00:00:a8:58:fa", Model: "virtio"},
					{Network: netA, Address: "10.0.0.9", MAC: "00:00:00:A8:58:F9", Model: "e1000"}}},
			Interfaces: []v02.Interface{{UUID: nic2}, {UUID: nic1, Floating: addr("192.168.20.9")}},
			Disks:      []v02.Disk{{Index: 0, File: "sda.qcow2", Device: "sda"}, {Index: 1, File: "hdc.qcow2", Device: "hdc"}},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What cannot come is refused with its reason, and what hangs on it; the rest of the
// store comes all the same.
func TestRefuse(t *testing.T) {
	second := func(s store, address, mac string) store {
		s["instance/"+vm2] = instance(vm2)
		return s.with("networkinterface/"+nic2, nic(nic2, netA, vm2, address, mac))
	}
	long := strings.Repeat("x", spec.MaxMetadata)
	for name, tc := range map[string]struct {
		store store
		want  []string // remarks, each "! kind id: part of the text", "!" where refused
	}{
		"sound": {store: one()},
		"deleted": {store: one().with("instance/"+vm2, instance(vm2).set("state", "deleted")).with("network/"+netB, network(netB, 1).set("state", "deleted")).
			with("networkinterface/"+nic2, nic(nic2, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9").set("state", "deleted"))},

		"instance: no JSON":      {one().with("instance/"+vm1, "{"), []string{"! instance " + vm1 + ": damaged: it is not one JSON object", claimed}},
		"instance: two objects":  {one().with("instance/"+vm1, "{} {}"), []string{"! instance " + vm1 + ": damaged: it is not one JSON object", claimed}},
		"instance: null":         {one().with("instance/"+vm1, "null"), []string{"! instance " + vm1 + ": its record is null", claimed}},
		"instance: a list":       {one().with("instance/"+vm1, "[]"), []string{"! instance " + vm1 + ": damaged", claimed}},
		"instance: members":      {one().with("instance/"+vm1, instance(vm1).set("cpus", nil, "memory", "lots", "node", 5)), []string{"! instance " + vm1 + ": damaged: node is no text, cpus is missing, memory is no whole number", claimed}},
		"instance: no state":     {one().with("instance/"+vm1, instance(vm1).set("state", nil)), []string{"! instance " + vm1 + ": state is missing", claimed}},
		"instance: unfinished":   {one().with("instance/"+vm1, instance(vm1).set("state", "creating")), []string{"! instance " + vm1 + `: its state is "creating": it was never finished`, claimed}},
		"instance: error":        {one().with("instance/"+vm1, instance(vm1).set("state", "error")), []string{"! instance " + vm1 + `: its state is "error"`, claimed}},
		"instance: other UUID":   {one().with("instance/"+vm1, instance(vm2)), []string{"! instance " + vm1 + `: it says that it is "` + vm2, claimed}},
		"instance: no UUID":      {one().with("instance/../x", instance("../x")), []string{`! instance ../x: "../x" is not a UUID`}},
		"instance: no namespace": {one().with("instance/"+vm1, instance(vm1).set("namespace", nil)), []string{"! instance " + vm1 + ": it belongs to no namespace", claimed}},
		"instance: namespace":    {one().with("instance/"+vm1, instance(vm1).set("namespace", "gone")), []string{"! instance " + vm1 + ": its namespace gone is missing", claimed}},
		"instance: name":         {one().with("instance/"+vm1, instance(vm1).set("name", "a b")), []string{"! instance " + vm1 + ": instance name must be useable", claimed}},
		"instance: user data":    {one().with("instance/"+vm1, instance(vm1).set("user_data", "%")), []string{"! instance " + vm1 + ": user_data is not base64", claimed}},
		"instance: no disks":     {one().with("instance/"+vm1, instance(vm1).set("disk_spec", []any{})), []string{"! instance " + vm1 + ": it has no disk", claimed}},
		"instance: disks":        {one().with("instance/"+vm1, instance(vm1).set("disk_spec", "8@cirros")), []string{"! instance " + vm1 + ": disk_spec is no list", claimed}},
		"instance: disk":         {one().with("instance/"+vm1, instance(vm1).set("disk_spec", []any{o{"size": o{}}})), []string{"! instance " + vm1 + ": disk 0: size is no whole number", claimed}},
		"instance: bus":          {one().with("instance/"+vm1, instance(vm1).set("disk_spec", []any{o{"size": 1, "bus": "floppy"}})), []string{"! instance " + vm1 + `: disk 0: bus "floppy"`, claimed}},
		"instance: devices":      {one().with("instance/"+vm1, instance(vm1).set("block_devices", o{"devices": []any{o{}}})), []string{"! instance " + vm1 + ": 1 disks and 1 block devices", claimed}},
		"instance: video":        {one().with("instance/"+vm1, instance(vm1).set("video", o{"memory": "much"})), []string{"! instance " + vm1 + ": video: memory is no whole number", claimed}},
		"instance: affinity":     {one().with("metadata/instance/"+vm1, o{"tags": 5}), []string{"! instance " + vm1 + ": metadata tags must be", claimed}},
		"instance: metadata":     {one().with("metadata/instance/"+vm1, "[1]"), []string{"! instance " + vm1 + ": its metadata are damaged", claimed}},
		"instance: big metadata": {one().with("metadata/instance/"+vm1, o{"x": long}), []string{"! instance " + vm1 + ": its metadata have", claimed}},

		"interface: damaged": {one().with("networkinterface/"+nic1, "?"), []string{"! interface " + nic1 + ": not known which instance", claimed}},
		"interface: members": {one().with("networkinterface/"+nic1, nic(nic1, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9").set("order", "first")),
			[]string{"! instance " + vm1 + ": its interface " + nic1 + ": its record is damaged: order is no whole number", claimed}},
		"interface: other UUID":    {one().with("networkinterface/"+nic1, nic(nic2, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9")), []string{"! instance " + vm1 + ": its interface " + nic1, claimed}},
		"interface: stray":         {one().with("networkinterface/"+nic2, nic(nic2, netA, vm2, "10.0.0.10", "00:00:00:a8:58:fa")), []string{"! interface " + nic2 + ": its instance " + vm2 + " is gone"}},
		"interface: two MACs":      {second(one(), "10.0.0.10", "00:00:00:A8:58:F9"), []string{"! instance " + vm2 + ": its MAC 00:00:00:a8:58:f9 is interface " + nic1 + "'s too"}},
		"interface: multicast":     {second(one(), "10.0.0.10", "01:00:00:A8:58:F9"), []string{"! instance " + vm2 + ": multicast"}},
		"interface: two addresses": {second(one(), "10.0.0.9", "00:00:00:a8:58:fa"), []string{"! instance " + vm2 + ": its address 10.0.0.9 is interface " + nic1 + "'s too"}},
		"interface: router's":      {second(one(), "10.0.0.1", "00:00:00:a8:58:fa"), []string{"! instance " + vm2 + ": router's address"}},
		"interface: elsewhere":     {second(one(), "10.0.1.9", "00:00:00:a8:58:fa"), []string{"! instance " + vm2 + ": outside the network's block"}},
		"interface: nonsense":      {second(one(), "10.0.0.09", "00:00:00:a8:58:fa"), []string{"! instance " + vm2 + `: its address "10.0.0.09" is none`}},
		"interface: none":          {one().with("networkinterface/"+nic1, nic(nic1, netA, vm1, "", "00:00:00:a8:58:f9").set("ipv4", nil)), []string{"! instance " + vm1 + `: its address "" is none`, claimed}},
		"interface: own twice": {one().with("networkinterface/"+nic2, nic(nic2, netA, vm1, "10.0.0.9", "00:00:00:a8:58:fa")),
			[]string{"! instance " + vm1 + ": its address 10.0.0.9 is that of another of the instance's", claimed}},

		"network: damaged":           {one().with("network/"+netA, "x"), []string{"! network " + netA + ": damaged", "! instance " + vm1 + ": its network " + netA + " is missing, deleted or refused"}},
		"network: block":             {one().with("network/"+netA, network(netA, 1).set("netblock", "10.0.0.0/31")), []string{"! network " + netA + ": not between", "! instance " + vm1 + ": its network"}},
		"network: number":            {one().with("network/"+netA, network(netA, 1).set("netblock", 10)), []string{"! network " + netA + ": netblock is no text", "! instance " + vm1 + ": its network"}},
		"network: NAT":               {one().with("network/"+netA, network(netA, 1).set("provide_nat", "yes")), []string{"! network " + netA + ": provide_nat is neither", "! instance " + vm1 + ": its network"}},
		"network: state":             {one().with("network/"+netA, network(netA, 1).set("state", "error")), []string{"! network " + netA + `: its state is "error"`, "! instance " + vm1 + ": its network"}},
		"network: VNI":               {one().with("network/"+netB, network(netB, 1)), []string{"! network " + netB + ": its VXLAN ID 1 is network " + netA + "'s too"}},
		"network: no VNI":            {one().with("network/"+netB, network(netB, -1)), []string{"! network " + netB + ": its VXLAN ID -1 is none"}},
		"network: others'":           {one().with("namespace/other", namespace("other")).with("instance/"+vm1, instance(vm1).set("namespace", "other")), []string{"! instance " + vm1 + ": its network " + netA + " is namespace demo's", claimed}},
		"network: system's instance": {store: one().with("instance/"+vm1, instance(vm1).set("namespace", "system"))},
		"network: gateway twice": {one().with("network/"+netB, network(netB, 2).set("floating_gateway", "192.168.20.71")),
			[]string{"network " + netB + ": it gets another address outside than 192.168.20.71: network " + netA + " has it too"}},
		"network: no gateway": {one().with("network/"+netA, network(netA, 1).set("floating_gateway", "x")), []string{"network " + netA + `: it gets another address outside: its own, "x", is none`}},
		"network: leak":       {one().with("ipmanager/"+netA, o{"ipmanager.v1": o{"in_use": []any{"10.0.0.0", "10.0.0.9", "10.0.0.77", 5, "x"}}}), []string{"network " + netA + ": no interface that comes along has 10.0.0.77, which"}},
		"network: addresses":  {one().with("ipmanager/"+netA, "x"), []string{"network " + netA + ": the record of its addresses is damaged"}},

		"floating: damaged": {one().with("network/floating", "x"), []string{"! network floating: damaged", "network " + netA + ": it gets another address outside"}},
		"floating: twice": {second(one(), "10.0.0.10", "00:00:00:a8:58:fa").with("networkinterface/"+nic1, nic(nic1, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9").set("floating", "192.168.20.9")).
			with("networkinterface/"+nic2, nic(nic2, netA, vm2, "10.0.0.10", "00:00:00:a8:58:fa").set("floating", "192.168.20.9")),
			[]string{"interface " + nic2 + ": its floating address 192.168.20.9 is left out: interface " + nic1 + " has it too"}},
		"floating: the network's": {one().with("networkinterface/"+nic1, nic(nic1, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9").set("floating", "192.168.20.71")),
			[]string{"network " + netA + ": it gets another address outside than 192.168.20.71: interface " + nic1 + " has it too"}},
		"floating: elsewhere": {one().with("networkinterface/"+nic1, nic(nic1, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9").set("floating", "1.2.3.4")), []string{"interface " + nic1 + ": its floating address 1.2.3.4 is left out"}},
		"floating: no NAT": {one().with("network/"+netA, network(netA, 1).set("provide_nat", nil)).with("networkinterface/"+nic1, nic(nic1, netA, vm1, "10.0.0.9", "00:00:00:a8:58:f9").set("floating", "192.168.20.9")),
			[]string{"interface " + nic1 + ": its network has no NAT"}},

		"namespace: damaged": {one().with("namespace/demo", "x"), []string{"! namespace demo: damaged", "! network " + netA + ": its namespace demo is missing or refused", "! instance " + vm1 + ": its namespace demo"}},
		"namespace: name":    {one().with("namespace/a b", namespace("a b")), []string{"! namespace a b: its name has more in it"}},
		"namespace: other":   {one().with("namespace/x", namespace("y")), []string{"! namespace x: its key says x and its name y"}},
		"namespace: keys":    {one().with("namespace/x", namespace("x").set("keys", []any{})), []string{"! namespace x: keys is no object"}},
		"namespace: key":     {one().with("namespace/x", namespace("x").set("keys", o{"plain": "c2VjcmV0", "a/b": hash, "n": 5})), []string{`namespace x: its key "a/b" is left out`, `namespace x: its key "n" is left out`, `namespace x: its key "plain" is left out: it is not a bcrypt hash`}},
		"namespace: service": {one().with("namespace/x", namespace("x").set("service_key", "secret")), []string{"namespace x: its service key is left out"}},
		"namespace: trust":   {one().with("namespace/x", namespace("x").set("trust", []any{"demo"})), []string{"namespace x: whom it trusts is left out"}},

		"snapshots": {one().with("snapshot/"+vm1+"/1601091300.25", o{}).with("snapshot/"+vm1+"/1601091301.25", o{}), []string{"! snapshot of " + vm1 + ": 2 snapshots"}},
	} {
		t.Run(name, func(t *testing.T) {
			plan := v02.Read(tc.store.records(), v02.Options{})
			var got []string
			for _, r := range plan.Remarks {
				text := fmt.Sprintf("%s %s: %s", r.Kind, r.ID, r.Text)
				if r.Refused {
					text = "! " + text
				}
				got = append(got, text)
			}
			for _, want := range tc.want {
				head, tail, _ := strings.Cut(want, ": ")
				k := slices.IndexFunc(got, func(g string) bool { return strings.HasPrefix(g, head) && strings.Contains(g, tail) })
				if k < 0 {
					t.Errorf("nothing says %q of %q", want, got)
					continue
				}
				got = slices.Delete(got, k, k+1)
			}
			if len(got) > 0 {
				t.Errorf("too much is said: %q", got)
			}
			sound(t, plan)
		})
	}
}

// claimed is said where the instance that has the address does not come.
const claimed = "network " + netA + ": no interface that comes along has 10.0.0.9, which were claimed"

// With Renumber what cannot be kept is given up, and said so.
func TestRenumber(t *testing.T) {
	s := one().with("network/"+netB, network(netB, 1)).with("instance/"+vm2, instance(vm2)).
		with("networkinterface/"+nic2, nic(nic2, netA, vm2, "10.0.0.1", "00:00:00:a8:58:f9")).
		with("networkinterface/"+nic3, nic(nic3, netB, vm2, "10.0.0.7", "00:00:00:a8:58:fc").set("order", 1))
	plan := v02.Read(s.records(), v02.Options{Renumber: true})
	sound(t, plan)
	if len(plan.Instances) != 2 || len(plan.Networks) != 2 || plan.Networks[1].VNI != 0 {
		t.Fatalf("%+v", plan)
	}
	want := []spec.InterfaceSpec{{Network: netA, Model: "virtio"}, {Network: netB, Model: "virtio", Address: "10.0.0.7", MAC: "00:00:00:a8:58:fc"}}
	if diff := cmp.Diff(want, plan.Instances[1].Spec.Interfaces); diff != "" {
		t.Error(diff)
	}
	if len(plan.Remarks) != 4 {
		t.Errorf("%+v", plan.Remarks)
	}
}

// sound holds that a plan contradicts itself nowhere.
func sound(t *testing.T, plan *v02.Plan) {
	t.Helper()
	namespaces, taken := map[string]bool{}, map[string]string{}
	take := func(what, by string) {
		if taken[what] != "" {
			t.Errorf("%s is %s's and %s's", what, taken[what], by)
		}
		taken[what] = by
	}
	for _, n := range plan.Namespaces {
		namespaces[n.Name] = true
	}
	networks := map[string]v02.Network{}
	for _, n := range plan.Networks {
		if networks[n.UUID] = n; !namespaces[n.Namespace] || n.Spec.Validate() != nil || !spec.ValidUUID(n.UUID) {
			t.Errorf("%+v", n)
		}
		if n.VNI != 0 {
			take(fmt.Sprint("VNI ", n.VNI), n.UUID)
		}
		if n.Gateway.IsValid() {
			take("outside "+n.Gateway.String(), n.UUID)
		}
	}
	for _, i := range plan.Instances {
		if !namespaces[i.Namespace] || i.Spec.Validate() != nil || !spec.ValidUUID(i.UUID) || len(i.Interfaces) != len(i.Spec.Interfaces) {
			t.Errorf("%+v", i)
		}
		for k, nic := range i.Interfaces {
			want := i.Spec.Interfaces[k]
			if n, ok := networks[want.Network]; !ok || n.Namespace != i.Namespace && i.Namespace != spec.System || !spec.ValidUUID(nic.UUID) {
				t.Errorf("%+v", want)
			}
			if take("interface "+nic.UUID, i.UUID); want.Address != "" {
				take(want.Network+" "+want.Address, nic.UUID)
			}
			if want.MAC != "" {
				take(strings.ToLower(want.MAC), nic.UUID)
			}
			if nic.Floating.IsValid() {
				take("outside "+nic.Floating.String(), nic.UUID)
			}
		}
		for _, d := range i.Disks {
			if d.Index < 0 || d.Index >= len(i.Spec.Disks) || strings.ContainsAny(d.File+d.Device, "/.\x00") && d.File != strings.TrimSuffix(d.File, ".qcow2")+".qcow2" {
				t.Errorf("%+v", d)
			}
		}
	}
}

// FuzzRead holds that no records whatever make a plan that contradicts itself.
func FuzzRead(f *testing.F) {
	for _, s := range []store{one(), one().with("instance/"+vm2, instance(vm2))} {
		text := ""
		for _, r := range s.records() {
			text += r.Key + "\n" + strings.ReplaceAll(string(r.Value), "\n", " ") + "\n"
		}
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Add("/sf/instance/\n{}\n/sf/network/floating\n{\"netblock\":5}\n", true)
	f.Fuzz(func(t *testing.T, text string, renumber bool) {
		lines := strings.Split(text, "\n")
		var records []v02.Record
		seen := map[string]bool{}
		for k := 0; k+1 < len(lines); k += 2 {
			if !seen[lines[k]] {
				seen[lines[k]] = true
				records = append(records, v02.Record{Key: lines[k], Value: []byte(lines[k+1])})
			}
		}
		sound(t, v02.Read(records, v02.Options{Renumber: renumber}))
	})
}
