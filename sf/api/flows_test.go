package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The flows of clients that exist, request for request, as they were seen on the
// wire: what they send, headers and oddities included, and what they decode.

// foreign is a client of others: how it sends things.
type foreign struct {
	c      *conversation
	who    string
	header http.Header // with each request
	empty  string      // the body of a request without arguments
}

// goClient is client-go v0.2.5: an empty body for no arguments, always a content
// type, and a token even where one is asked for.
func goClient(c *conversation, who string) *foreign {
	return &foreign{c, who, http.Header{"Content-Type": {"application/json"}}, ""}
}

// pythonClient is the Python client 0.2.5 to 0.2.7: no content type, and the four
// bytes null for no arguments.
func pythonClient(c *conversation, who string) *foreign {
	return &foreign{c, who, http.Header{"User-Agent": {"Mozilla/5.0 (Ubuntu; Linux x86_64) Shaken Fist/0.2.6"}}, "null"}
}

// does sends a request that has to succeed, and decodes the answer as the client
// does. Both libraries take anything but 200 for an error, and Python parses
// every answer.
func (f *foreign) does(request, body string, into any) {
	f.c.t.Helper()
	if body == "" {
		body = f.empty
	}
	method, url, _ := strings.Cut(request, " ")
	w := f.c.ask(f.who, method, url, f.header, body)
	if w.Code != http.StatusOK {
		f.c.t.Fatalf("%s %s: %d %s", request, body, w.Code, w.Body)
	}
	if text, ok := into.(*string); ok && strings.Contains(url, "/consoledata") {
		*text = w.Body.String()
		return
	}
	if into == nil {
		into = new(any)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		f.c.t.Fatalf("%s: %v in %s", request, err, w.Body)
	}
}

// gone checks that a GET says "not found" in the text, by which Terraform knows.
func (f *foreign) gone(request string) {
	f.c.t.Helper()
	method, url, _ := strings.Cut(request, " ")
	w := f.c.ask(f.who, method, url, f.header, f.empty)
	if w.Code != 404 || !strings.Contains(w.Body.String(), "not found") {
		f.c.t.Errorf("%s: %d %s", request, w.Code, w.Body)
	}
}

// The types that client-go decodes into: other types in JSON would not fit.
type (
	goInstance struct {
		UUID     string
		Name     string
		CPUs     int
		Memory   int
		DiskSpec []struct {
			Base, Bus, Type string
			Size            int
		} `json:"disk_spec"`
		Video struct {
			Model  string
			Memory int
		}
		SSHKey       string `json:"ssh_key"`
		Node         string
		ConsolePort  int            `json:"console_port"`
		VDIPort      int            `json:"vdi_port"`
		UserData     string         `json:"user_data"`
		BlockDevices map[string]any `json:"block_devices"`
		State        string
		StateUpdated float64 `json:"state_updated"`
		PowerState   string  `json:"power_state"`
	}
	goNetwork struct {
		UUID, Name, Netblock, Owner, State string
		VXID                               int     `json:"vxid"`
		DHCP                               bool    `json:"provide_dhcp"`
		NAT                                bool    `json:"provide_nat"`
		Gateway                            string  `json:"floating_gateway"`
		StateUpdated                       float64 `json:"state_updated"`
	}
	goInterface struct {
		UUID                   string
		Network                string `json:"network_uuid"`
		Instance               string `json:"instance_uuid"`
		MAC                    string `json:"macaddr"`
		IPv4                   string
		Order                  int
		Floating, State, Model string
		StateUpdated           float64 `json:"state_updated"`
	}
	goSnapshot struct {
		UUID, Device string
		Created      int64
	}
	goEvent struct {
		Timestamp                       float64
		FQDN, Operation, Phase, Message string
		Duration                        float64
	}
	goNode struct {
		Name, IP string
		LastSeen float64
	}
)

// TestGoClient makes every call of client-go v0.2.5, in an order in which they
// succeed.
func TestGoClient(t *testing.T) {
	c := weak(t)
	admin, g := goClient(c, "system"), goClient(c, "demo")
	var token struct {
		AccessToken string `json:"access_token"`
	}
	g.does("POST /auth", `{"namespace":"demo","key":"secret-of-demo"}`, &token)
	g.header.Set("Authorization", "Bearer stale") // a later login sends what it had
	g.does("POST /auth", `{"namespace":"demo","key":"secret-of-demo"}`, &token)
	g.header.Del("Authorization")

	var net goNetwork
	g.does("POST /networks", `{"netblock":"192.168.50.0/24","provide_dhcp":true,"provide_nat":true,"name":"golang"}`, &net)
	var nets []goNetwork
	g.does("GET /networks", "", &nets)
	if len(nets) != 1 || nets[0].UUID != net.UUID || nets[0].VXID == 0 || nets[0].Gateway == "" {
		t.Errorf("networks: %+v", nets)
	}
	g.does("GET /networks/"+net.UUID, "", &net)

	var i, bare goInstance
	g.does("POST /instances", `{"name":"bare","cpus":1,"memory":1024,"network":null,"disk":[{"base":"cirros","size":8,"bus":"","type":"disk"}],"video":{"model":"","memory":0},"ssh_key":"","user_data":""}`, &bare)
	g.does("POST /instances", fmt.Sprintf(`{"name":"golang","cpus":1,"memory":1024,"network":[{"network_uuid":%q,"address":"","macaddress":"","model":""}],`+
		`"disk":[{"base":"cirros","size":8,"bus":"","type":"disk"}],"video":{"model":"vga","memory":8192},"ssh_key":"","user_data":""}`, net.UUID), &i)
	if i.State != "created" || i.PowerState != "on" || i.DiskSpec[0].Size != 8 || i.Video.Model != "vga" || i.Video.Memory != 8192 {
		t.Errorf("instance: %+v", i)
	}
	url := "/instances/" + i.UUID
	var all []goInstance
	g.does("GET /instances", "", &all)
	g.does("GET "+url, "", &i)
	for _, power := range []string{"reboot", "rebootsoft", "reboothard", "pause", "unpause", "poweroff", "poweron"} {
		g.does("POST "+url+"/"+power, "", nil)
	}
	g.does("POST "+url+"/snapshot", `{"all":true}`, nil)
	var snapshots []goSnapshot
	g.does("GET "+url+"/snapshot", "", &snapshots)
	if len(snapshots) != 1 || snapshots[0].Device != "vda" {
		t.Errorf("snapshots: %+v", snapshots)
	}
	var events []goEvent
	g.does("GET "+url+"/events", "", &events)
	g.does("GET /networks/"+net.UUID+"/events", "", &events)
	var console string
	g.does("GET "+url+"/consoledata", `{"length":100}`, &console)
	var nics []goInterface
	g.does("GET /networks/"+net.UUID+"/interfaces", "", &nics)
	g.does("GET "+url+"/interfaces", "", &nics)
	if len(nics) != 1 || nics[0].Instance != i.UUID || nics[0].IPv4 == "" {
		t.Fatalf("interfaces: %+v", nics)
	}
	nic := "/interfaces/" + nics[0].UUID
	g.does("POST "+nic+"/float", "", nil)
	var floated goInterface
	if g.does("GET "+nic, "", &floated); floated.Floating == "" {
		t.Error("float has not happened when it is answered")
	}
	g.does("POST "+nic+"/defloat", "", nil)

	for _, owner := range []string{url, "/networks/" + net.UUID} {
		g.does("PUT "+owner+"/metadata/who", `{"value":"me"}`, nil)
		values := map[string]string{}
		if g.does("GET "+owner+"/metadata", "", &values); values["who"] != "me" {
			t.Errorf("metadata: %v", values)
		}
		g.does("DELETE "+owner+"/metadata/who", "", nil)
	}
	admin.does("POST /images", `{"url":"cirros"}`, nil)
	var nodes []goNode
	admin.does("GET /nodes", "", &nodes)
	var names []string
	admin.does("POST /auth/namespaces", `{"namespace":"golang"}`, nil)
	admin.does("GET /auth/namespaces", "", &names)
	admin.does("POST /auth/namespaces/golang/keys", `{"key_name":"k","key":"s"}`, nil)
	admin.does("PUT /auth/namespaces/golang/keys/k", `{"key":"t"}`, nil)
	admin.does("GET /auth/namespaces/golang/keys", "", &names)
	admin.does("PUT /auth/namespaces/golang/metadata/a", `{"value":"b"}`, nil)
	admin.does("DELETE /auth/namespaces/golang/keys/k", "", nil)
	admin.does("DELETE /auth/namespaces/golang", "", nil)

	g.does("DELETE "+url, "", nil)
	g.gone("DELETE " + url)
	g.does("DELETE /instances", `{"namespace":"demo","confirm":true}`, &names)
	g.does("DELETE /networks/"+net.UUID, "", nil)
	g.does("DELETE /networks", `{"namespace":"demo","confirm":true}`, &names)
	if len(names) != 0 {
		t.Errorf("deleted once more: %v", names)
	}
}

// TestPythonClient makes the calls behind the commands of the command line 0.2.5 to
// 0.2.7, which the Ansible modules run with --json.
func TestPythonClient(t *testing.T) {
	c := weak(t)
	admin, p := pythonClient(c, "system"), pythonClient(c, "demo")
	var net, i map[string]any
	p.does("POST /networks", `{"netblock": "192.168.242.0/24", "provide_dhcp": true, "provide_nat": true, "name": "mynet", "namespace": null}`, &net)
	for _, member := range strings.Fields("uuid vxid netblock provide_dhcp provide_nat namespace floating_gateway name state state_updated") {
		if _, ok := net[member]; !ok {
			t.Errorf("a network has no %s", member)
		}
	}
	// instance create -N network_uuid=…,macaddress=… -D size=8,base=cirros -D size=16,type=disk -p node1
	p.does("POST /instances", fmt.Sprintf(`{"name": "myvm", "cpus": 1, "memory": 1024, "network": [{"network_uuid": %q, "macaddress": "02:42:4d:0a:86:fe"}], `+
		`"disk": [{"size": "8", "base": "cirros"}, {"size": "16", "type": "disk"}], "ssh_key": null, "user_data": null, "namespace": null, `+
		`"video": {"model": "cirrus", "memory": "16384"}, "placed_on": "node1"}`, net["uuid"]), &i)
	for _, member := range strings.Fields("uuid name cpus memory disk_spec video node power_state state console_port vdi_port ssh_key user_data namespace block_devices state_updated") {
		if _, ok := i[member]; !ok {
			t.Errorf("an instance has no %s", member)
		}
	}
	url := fmt.Sprint("/instances/", i["uuid"])
	var list []map[string]any
	for _, request := range []string{"GET /instances", "GET /networks", "GET " + url + "/interfaces", "GET " + url + "/events", "GET " + url + "/snapshot"} {
		p.does(request, "", &list)
	}
	p.does("GET /instances", `{"all": true}`, &list)
	p.does("GET "+url+"/interfaces", "", &list)
	if len(list) != 1 || list[0]["macaddr"] != "02:42:4d:0a:86:fe" {
		t.Errorf("interfaces: %v", list)
	}
	p.does("GET "+url, "", nil)
	p.does("GET "+url+"/metadata", "", nil)
	p.does("PUT "+url+"/metadata/k", `{"value": "v"}`, nil)
	var uuid string
	if p.does("POST "+url+"/snapshot", `{"all": true}`, &uuid); len(uuid) != 36 {
		t.Errorf("snapshot: %q", uuid)
	}
	for _, power := range []string{"rebootsoft", "reboothard", "poweroff", "poweron", "pause", "unpause"} {
		p.does("POST "+url+"/"+power, "", nil)
	}
	var console string
	p.does("GET "+url+"/consoledata?length=10240", "", &console) // its length is in the query
	nic, network := fmt.Sprint("/interfaces/", list[0]["uuid"]), fmt.Sprint("/networks/", net["uuid"])
	var one map[string]any
	p.does("POST "+nic+"/float", "", nil)
	if p.does("GET "+nic, "", &one); one["floating"] == nil {
		t.Errorf("a floated interface: %v", one)
	}
	p.does("POST "+nic+"/defloat", "", nil)
	p.does("DELETE "+url+"/metadata/k", "", nil)
	p.does("GET "+network, "", &one)
	p.does("GET "+network+"/interfaces", "", &list)
	p.does("GET "+network+"/events", "", &list)
	p.does("PUT "+network+"/metadata/k", `{"value": "v"}`, nil)
	p.does("GET "+network+"/metadata", "", &one)
	p.does("DELETE "+network+"/metadata/k", "", nil)
	admin.does("POST /images", `{"url": "cirros"}`, nil)
	admin.does("GET /nodes", "", &list)
	var names []string
	admin.does("POST /auth/namespaces", `{"namespace": "new"}`, nil)
	admin.does("POST /auth/namespaces/new/keys", `{"key_name": "k", "key": "s"}`, nil)
	admin.does("GET /auth/namespaces", "", &names) // by which "namespace show" knows that it is there
	admin.does("GET /auth/namespaces/new/keys", "", &names)
	admin.does("PUT /auth/namespaces/new/metadata/k", `{"value": "v"}`, nil)
	admin.does("GET /auth/namespaces/new/metadata", "", &one)
	admin.does("DELETE /auth/namespaces/new/metadata/k", "", nil)
	admin.does("DELETE /auth/namespaces/new/keys/k", "", nil)
	admin.does("DELETE /auth/namespaces/new", "", nil)
	p.does("DELETE "+url, "", nil)
	p.does("DELETE "+network, "", nil)
	for _, all := range []string{"/instances", "/networks"} { // namespace clean
		if p.does("DELETE "+all, `{"confirm": true, "namespace": null}`, &names); len(names) != 0 {
			t.Errorf("deleted once more: %v", names)
		}
	}
	p.gone("GET " + "/instances/none")
}

// TestTerraform goes through what the provider v0.2.5 does for a plan with each of
// its resources: create, read back, plan again without a difference, destroy.
func TestTerraform(t *testing.T) {
	c := weak(t)
	admin := goClient(c, "system")
	admin.does("POST /auth/namespaces", `{"namespace":"terraform"}`, nil)
	admin.does("PUT /auth/namespaces/terraform/metadata/purpose", `{"value":"test"}`, nil)
	admin.does("POST /auth/namespaces/terraform/keys", `{"key_name":"test","key":"s"}`, nil)
	g := goClient(c, "terraform")
	var names []string
	if admin.does("GET /auth/namespaces", "", &names); !slices.Contains(names, "terraform") {
		t.Errorf("namespaces: %v", names)
	}
	if admin.does("GET /auth/namespaces/terraform/keys", "", &names); !slices.Equal(names, []string{"test"}) {
		t.Errorf("keys: %v", names)
	}
	purpose := map[string]string{}
	if admin.does("GET /auth/namespaces/terraform/metadata", "", &purpose); purpose["purpose"] != "test" {
		t.Errorf("metadata: %v", purpose)
	}

	var net goNetwork
	g.does("POST /networks", `{"netblock":"10.0.1.0/24","provide_dhcp":true,"provide_nat":true,"name":"external"}`, &net)
	g.does("PUT /networks/"+net.UUID+"/metadata/purpose", `{"value":"external"}`, nil)
	g.does("GET /networks/"+net.UUID, "", &net)
	if net.Name != "external" || net.Netblock != "10.0.1.0/24" || !net.DHCP || !net.NAT {
		t.Errorf("read back: %+v", net)
	}
	g.does("GET /networks/"+net.UUID+"/metadata", "", &purpose)
	var i goInstance
	g.does("POST /instances", fmt.Sprintf(`{"name":"jump","cpus":1,"memory":1024,"network":[{"network_uuid":%q,"address":"10.0.1.17","macaddress":"12:34:56:78:9A:bc","model":"e1000"}],`+
		`"disk":[{"base":"cirros","size":8,"bus":"ide","type":"disk"}],"video":{"model":"cirrus","memory":16384},"ssh_key":"ssh-rsa AAAA","user_data":"aGVsbG8="}`, net.UUID), &i)
	url := "/instances/" + i.UUID
	for _, key := range []string{"person", "action"} {
		g.does("PUT "+url+"/metadata/"+key, `{"value":"v"}`, nil)
	}
	// Read back: what was asked for must be there unchanged, or it plans a replacement.
	g.does("GET "+url, "", &i)
	if d := i.DiskSpec[0]; d.Base != "cirros" || d.Size != 8 || d.Bus != "ide" || d.Type != "disk" || i.SSHKey != "ssh-rsa AAAA" || i.UserData != "aGVsbG8=" ||
		i.Video.Model != "cirrus" || i.Video.Memory != 16384 || i.CPUs != 1 || i.Memory != 1024 || i.State != "created" {
		t.Errorf("read back: %+v", i)
	}
	var nics []goInterface
	g.does("GET "+url+"/interfaces", "", &nics)
	var nic goInterface
	g.does("GET /interfaces/"+nics[0].UUID, "", &nic)
	if nic.IPv4 != "10.0.1.17" || nic.MAC != "12:34:56:78:9A:bc" || nic.Model != "e1000" {
		t.Errorf("interface: %+v", nic)
	}
	metadata := map[string]string{}
	if g.does("GET "+url+"/metadata", "", &metadata); len(metadata) != 2 {
		t.Errorf("metadata: %v", metadata)
	}
	g.does("POST /interfaces/"+nic.UUID+"/float", "", nil)
	if g.does("GET /interfaces/"+nic.UUID, "", &nic); nic.Floating == "" {
		t.Error("a float has no address right after the call")
	}
	// Outside of its network's block is refused, as later versions do.
	w := c.ask("terraform", "POST", "/instances", g.header, fmt.Sprintf(`{"name":"x","cpus":1,"memory":1024,"network":[{"network_uuid":%q,"address":"10.0.100.2","macaddress":"","model":""}],"disk":[{"base":"cirros","size":8,"bus":"ide","type":"disk"}],"video":{"model":"","memory":0},"ssh_key":"","user_data":""}`, net.UUID))
	if w.Code != 400 {
		t.Errorf("an address outside: %d %s", w.Code, w.Body)
	}
	// Destroy, in its order; deleted objects are read once more.
	g.does("POST /interfaces/"+nic.UUID+"/defloat", "", nil)
	g.does("DELETE "+url, "", nil)
	if g.does("GET "+url, "", &i); i.State != "deleted" {
		t.Errorf("a deleted instance is %s", i.State)
	}
	g.does("DELETE /networks/"+net.UUID, "", nil)
	if g.does("GET /networks/"+net.UUID, "", &net); net.State != "deleted" {
		t.Errorf("a deleted network is %s", net.State)
	}
	admin.does("DELETE /auth/namespaces/terraform/keys/test", "", nil)
	admin.does("DELETE /auth/namespaces/terraform", "", nil)
}

// TestTerraformPolls goes through a create as the provider v0.3 and later do it:
// they poll until the state is created or error.
func TestTerraformPolls(t *testing.T) {
	c := weak(t)
	g := goClient(c, "demo")
	var i goInstance
	g.does("POST /instances?async=1", vm(oneDisk), &i)
	for i.State != "created" {
		switch i.State {
		case "initial", "preflight", "creating": // which it takes for: not yet
		default:
			t.Fatalf("the state %q is none that it waits through", i.State)
		}
		g.does("GET /instances/"+i.UUID, "", &i)
	}
}
