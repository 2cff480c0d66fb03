package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAnsible runs what the original's Ansible modules sf_network and sf_instance run in
// a shell: they take an exit status that is not 0, or an output that is not JSON, for a
// failure, and hand the JSON to playbooks.
func TestAnsible(t *testing.T) {
	r := newReal(t)
	module := func(line string) (meta struct {
		UUID        string
		ConsolePort *int `json:"console_port"`
		Interfaces  []struct {
			IPv4, Macaddr, Model string
			Network              string `json:"network_uuid"`
		} `json:"network_interfaces"`
		Node  string
		Disks []struct {
			Size      int
			Base, Bus string
		} `json:"disk_spec"`
		SSHKey   string `json:"ssh_key"`
		UserData string `json:"user_data"`
		Memory   int
	}) {
		t.Helper()
		out := r.run(words(line)[1:]...)
		if err := json.Unmarshal([]byte(out), &meta); err != nil {
			t.Fatalf("%s: %v:\n%s", line, err, out)
		}
		return meta
	}
	// sf_network: netblock, name; and sf_instance: disks, networks, the rest with ram in GB.
	n := module("sf-client --json network create 192.168.242.0/24 mynet").UUID
	i := module("sf-client --json instance create myvm 1 1 -d 8@cirros  -n " + n + "   ")
	if i.ConsolePort == nil || len(i.Interfaces) != 1 || !strings.HasPrefix(i.Interfaces[0].IPv4, "192.168.242.") || i.Memory != 1024 {
		t.Errorf("playbooks read of an instance: %+v", i)
	}
	// diskspecs, networkspecs, placement, a key and user data.
	j := module("sf-client --json instance create other 1 1  -D size=8,base=cirros,bus=ide,type=disk -D size=16,type=disk  -N network_uuid=" + n +
		",address=192.168.242.42,macaddress=02:42:4d:0a:86:fe,model=e1000 -p  node1  -I 'ssh-rsa' -U 'aGVsbG8='")
	if f := j.Interfaces[0]; f.IPv4 != "192.168.242.42" || f.Macaddr != "02:42:4d:0a:86:fe" || f.Model != "e1000" || f.Network != n ||
		j.Node != "node1" || j.Disks[0].Bus != "ide" || j.Disks[1].Size != 16 || j.SSHKey != "ssh-rsa" || j.UserData != "aGVsbG8=" {
		t.Errorf("of the other: %+v", j)
	}
	// state: absent.
	for _, id := range []string{i.UUID, j.UUID} {
		module("sf-client --json instance delete " + id)
	}
	module("sf-client --json network delete " + n)
	r.cloud.ComeToRest(t)
	// What fails is a failure for them: no JSON, and a status.
	a, out, _ := testApp(r.url)
	if status := a.run(t.Context(), words("sf-client --json instance delete " + i.UUID)[1:]); status == 0 || json.Valid(out.Bytes()) {
		t.Errorf("deleting it again: exit %d, %s", status, out)
	}
}
