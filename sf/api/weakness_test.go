package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest"
)

// The tests of this file are named after the numbers in the list of weaknesses of
// the original, docs/parity.md has the table.

// weak is a conversation with a real cloud on a simulated host.
func weak(t *testing.T) *conversation { return converse(t, sftest.New(t).Cloud) }

// wants asks and checks status and part of the text of the answer.
func (c *conversation) wants(who, request, body string, status int, text string) string {
	c.t.Helper()
	method, url, _ := strings.Cut(request, " ")
	w := c.ask(who, method, url, nil, body)
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		c.t.Errorf("%s %s %s: %d %s, want %d with %q", who, request, body, w.Code, w.Body, status, text)
	}
	return w.Body.String()
}

// makes asks for an object and returns its UUID.
func (c *conversation) makes(who, request, body string) string {
	c.t.Helper()
	var made struct{ UUID string }
	if err := json.Unmarshal([]byte(c.wants(who, request, body, 200, `"uuid"`)), &made); err != nil {
		c.t.Fatal(err)
	}
	return made.UUID
}

// vm is the arguments of an instance with members of its own.
func vm(members string) string {
	return `{"name": "vm", "cpus": 1, "memory": 64` + members + `}`
}

const oneDisk = `, "disk": [{"size": 1}]`

func TestWeakness1CommandsInArguments(t *testing.T) {
	c := weak(t)
	net := c.makes("demo", "POST /networks", `{"netblock": "10.0.0.0/24"}`)
	c.wants("demo", "POST /instances", vm(`, "disk": [{"size": "8; touch /tmp/x"}]`), 400, "disk 0 size should be a whole number")
	c.wants("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`", "address": "10.0.0.5; reboot"}]`), 400, "is not an IPv4 address")
}

func TestWeakness2ChosenUUID(t *testing.T) {
	c := weak(t)
	for _, id := range []string{"../../../etc", "11111111-2222-4333-8444-555555555555"} {
		c.wants("demo", "POST /instances", vm(oneDisk+`, "instance_uuid": "`+id+`"`), 400, "instance_uuid cannot be chosen")
	}
}

func TestWeakness3XMLInArguments(t *testing.T) {
	c := weak(t)
	net := c.makes("demo", "POST /networks", `{"netblock": "10.0.0.0/24"}`)
	const evil = `'/><disk type='block'>`
	c.wants("demo", "POST /instances", vm(`, "disk": [{"size": 1, "bus": "`+evil+`"}]`), 400, "bus")
	c.wants("demo", "POST /instances", vm(`, "disk": [{"size": 1, "type": "`+evil+`"}]`), 400, "type")
	c.wants("demo", "POST /instances", vm(oneDisk+`, "video": {"model": "`+evil+`"}`), 400, "video")
	c.wants("demo", "POST /instances", vm(oneDisk+`, "video": {"memory": "`+evil+`"}`), 400, "video memory")
	c.wants("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`", "model": "`+evil+`"}]`), 400, "model")
	c.wants("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`", "macaddress": "`+evil+`"}]`), 400, "macaddress")
}

func TestWeakness6ForeignNetworks(t *testing.T) {
	c := weak(t)
	net := c.makes("demo", "POST /networks", `{"netblock": "10.0.0.0/24"}`)
	c.wants("other", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`"}]`), 404, "not found")
}

func TestWeakness7ForeignInterfaces(t *testing.T) {
	c := weak(t)
	net := c.makes("demo", "POST /networks", `{"netblock": "10.0.0.0/24", "provide_nat": true}`)
	i := c.makes("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`"}]`))
	var nics []interfaceWire
	if err := json.Unmarshal([]byte(c.wants("demo", "GET /instances/"+i+"/interfaces", "", 200, "")), &nics); err != nil || len(nics) != 1 {
		t.Fatal(err, nics)
	}
	nic := "/interfaces/" + nics[0].UUID
	for _, request := range []string{"GET " + nic, "POST " + nic + "/float", "POST " + nic + "/defloat"} {
		c.wants("other", request, "", 404, "interface not found")
	}
	c.wants("other", "DELETE /networks", `{"confirm": true, "namespace": "demo"}`, 401, "you cannot delete other namespaces")
	c.wants("demo", "GET "+nic, "", 200, `"floating":null`)
}

func TestWeakness8ThePathWins(t *testing.T) {
	c := weak(t)
	mine, theirs := c.makes("demo", "POST /instances", vm(oneDisk)), c.makes("other", "POST /instances", vm(oneDisk))
	c.wants("demo", "DELETE /instances/"+mine, `{"instance_uuid": "`+theirs+`"}`, 200, "null")
	c.wants("other", "GET /instances/"+theirs, "", 200, `"state":"created"`)
	for _, inner := range []string{"instance_from_db", "network_from_db", "passed_uuid", "uuid"} {
		c.wants("other", "GET /instances/"+theirs, `{"`+inner+`": {}}`, 400, inner)
	}
}

func TestWeakness9NothingSecretIsSaid(t *testing.T) {
	var log bytes.Buffer
	cloud := sftest.New(t)
	c := converse(t, cloud.Cloud)
	c.server.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.wants("-", "POST /auth", `{"namespace": "demo", "key": "hunter2"}`, 401, "unauthorized")
	c.wants("-", "POST /auth", `{"namespace": "demo", "key": "secret-of-demo"}`, 200, "access_token")
	c.wants("system", "POST /auth/namespaces/demo/keys", `{"key_name": "k", "key": "hunter2"}`, 200, "k")
	c.wants("demo", "POST /instances", vm(oneDisk+`, "user_data": "aHVudGVyMg=="`), 200, "")
	for _, secret := range []string{"hunter2", "secret-of", "aHVudGVyMg", c.token("demo"), c.token("system")} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	if !strings.Contains(log.String(), "msg=audit") {
		t.Errorf("nothing was logged: %s", &log)
	}
}

func TestWeakness10ServiceKeysAndRevocation(t *testing.T) {
	c := weak(t)
	c.wants("system", "POST /auth/namespaces/demo/keys", `{"key_name": "service_key", "key": "x"}`, 403, "illegal key name")
	c.wants("demo", "GET /instances", "", 200, "[]")
	c.wants("system", "DELETE /auth/namespaces/demo/keys/test", "", 200, "null")
	c.wants("demo", "GET /instances", "", 401, "revoked")
	c.wants("system", "DELETE /auth/namespaces/other", "", 200, "null")
	c.tokens["other"] = c.tokens["demo"]
	c.wants("other", "GET /instances", "", 401, "revoked")
}

func TestWeakness13Limits(t *testing.T) {
	c := weak(t)
	c.wants("demo", "POST /instances", strings.Repeat(" ", 4<<20+1), 413, "longer than")
	c.wants("-", "POST /auth", strings.Repeat(" ", 64<<10+1), 413, "longer than")
	c.wants("demo", "POST /instances", vm(`, "disk": [`+strings.Repeat(`{"size": 1},`, 16)+`{"size": 1}]`), 400, "at most 16 disks")
	c.wants("demo", "POST /instances", vm(`, "disk": [{"size": 99999999}]`), 400, "size must be between")
	c.wants("demo", "POST /instances", `{"name": "vm", "cpus": 99999, "memory": 64`+oneDisk+`}`, 400, "cpus must be between")
	i := c.makes("demo", "POST /instances", vm(oneDisk))
	c.wants("demo", "POST /instances/"+i+"/metadata", `{"key": "k", "value": "`+strings.Repeat("v", 70<<10)+`"}`, 400, "the most is")
	for n := range 100 {
		c.wants("demo", "POST /instances/"+i+"/"+[]string{"pause", "unpause"}[n%2], "", 200, "null")
	}
	if n := strings.Count(c.wants("demo", "GET /instances/"+i+"/events", "", 200, ""), `"timestamp"`); n > 64 {
		t.Errorf("%d events are kept", n)
	}
}

func TestWeakness15NobodyMeansEverybody(t *testing.T) {
	c := weak(t)
	i := c.makes("demo", "POST /instances", vm(oneDisk))
	c.wants("system", "DELETE /instances", `{"confirm": true, "namespace": ""}`, 400, "must specify parameter namespace")
	c.wants("system", "DELETE /networks", `{"confirm": true, "namespace": ""}`, 400, "must specify parameter namespace")
	c.wants("system", "DELETE /instances", `{"confirm": "true", "namespace": "demo"}`, 400, "confirm is not set true")
	c.wants("demo", "GET /instances/"+i, "", 200, `"state":"created"`)
}

func TestWeakness18LostUpdates(t *testing.T) {
	c := weak(t)
	i := c.makes("demo", "POST /instances", vm(oneDisk))
	c.token("demo")
	var wg sync.WaitGroup
	for k := range 20 {
		wg.Go(func() {
			c.wants("demo", fmt.Sprintf("PUT /instances/%s/metadata/k%d", i, k), `{"value": "v"}`, 200, "null")
		})
	}
	wg.Wait()
	if n := strings.Count(c.wants("demo", "GET /instances/"+i+"/metadata", "", 200, ""), `"v"`); n != 20 {
		t.Errorf("%d of 20 keys are there", n)
	}
}

func TestWeakness19FloatingTwice(t *testing.T) {
	c := weak(t)
	net := c.makes("demo", "POST /networks", `{"netblock": "10.0.0.0/24", "provide_nat": true}`)
	i := c.makes("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`"}]`))
	var nics []interfaceWire
	if err := json.Unmarshal([]byte(c.wants("demo", "GET /instances/"+i+"/interfaces", "", 200, "")), &nics); err != nil || len(nics) != 1 {
		t.Fatal(err, nics)
	}
	status := make([]int, 8)
	var wg sync.WaitGroup
	for k := range status {
		wg.Go(func() { status[k] = c.ask("demo", "POST", "/interfaces/"+nics[0].UUID+"/float", nil, "").Code })
	}
	wg.Wait()
	won := 0
	for _, s := range status {
		switch s {
		case 200:
			won++
		case 409:
		default:
			t.Errorf("a float answered %d", s)
		}
	}
	if won != 1 {
		t.Errorf("%d floats of one interface succeeded", won)
	}
}

func TestWeakness23MACsTwice(t *testing.T) {
	c := weak(t)
	net := c.makes("demo", "POST /networks", `{"netblock": "10.0.0.0/24"}`)
	nic := oneDisk + `, "network": [{"network_uuid": "` + net + `", "macaddress": "12:34:56:78:9a:bc"}]`
	c.makes("demo", "POST /instances", vm(nic))
	c.wants("demo", "POST /instances", vm(nic), 409, "12:34:56:78:9a:bc")
}

func TestWeakness24Addresses(t *testing.T) {
	c := weak(t)
	net := c.makes("demo", "POST /networks", `{"netblock": "10.0.0.0/29"}`)
	for _, address := range []string{"10.0.1.5", "10.0.0.0", "10.0.0.1", "10.0.0.7", "10.0.0.05", "x", "::1"} {
		c.wants("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`", "address": "`+address+`"}]`), 400, "")
	}
	for range 5 { // .2 to .6
		c.makes("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`"}]`))
	}
	c.wants("demo", "POST /instances", vm(oneDisk+`, "network": [{"network_uuid": "`+net+`"}]`), 507, "insufficient capacity")
}

func TestWeakness31InterfacesInOrder(t *testing.T) {
	c := weak(t)
	var specs []string
	for n := range 5 {
		specs = append(specs, `{"network_uuid": "`+c.makes("demo", "POST /networks", fmt.Sprintf(`{"netblock": "10.0.%d.0/24"}`, n))+`"}`)
	}
	i := c.makes("demo", "POST /instances", vm(oneDisk+`, "network": [`+strings.Join(specs, ",")+`]`))
	var nics []interfaceWire
	if err := json.Unmarshal([]byte(c.wants("demo", "GET /instances/"+i+"/interfaces", "", 200, "")), &nics); err != nil {
		t.Fatal(err)
	}
	for n, nic := range nics {
		if nic.Order != n || !strings.Contains(specs[n], nic.NetworkUUID) {
			t.Errorf("interface %d is of order %d on %s", n, nic.Order, nic.NetworkUUID)
		}
	}
}

func TestWeakness33NetworkRecords(t *testing.T) {
	c := weak(t)
	made := c.wants("demo", "POST /networks", `{"netblock": "10.0.0.0/24", "provide_nat": true}`, 200, `"state":"created"`)
	if strings.Contains(made, `"floating_gateway":null`) || strings.Contains(made, `"vxid":0`) {
		t.Errorf("a new network is %s", made)
	}
	if list := c.wants("demo", "GET /networks", "", 200, ""); strings.Contains(list, `"vxlan_id":0`) {
		t.Errorf("listed as %s", list)
	}
}

func TestWeakness35SizesAsText(t *testing.T) {
	c := weak(t)
	c.wants("demo", "POST /instances", vm(`, "disk": [{"size": "8"}], "video": {"model": "vga", "memory": "16384"}`), 200, `"disk_spec":[{"size":8,`)
}

func TestWeakness39ErrorsAreListed(t *testing.T) {
	f := newFake()
	c := converse(t, f)
	f.broken = "no such image"
	c.wants("demo", "POST /instances", vm(oneDisk), 500, "no such image")
	c.wants("demo", "GET /instances", `{"all": true}`, 200, `"error":"no such image"`)
}

func TestWeakness41Power(t *testing.T) {
	c := weak(t)
	i := c.makes("demo", "POST /instances", vm(oneDisk))
	c.wants("demo", "POST /instances/"+i+"/poweroff", "", 200, "null")
	c.wants("demo", "GET /instances/"+i, "", 200, `"power_state":"off"`)
	c.wants("demo", "POST /instances/"+i+"/reboothard", "", 409, "only one that is on")
	if events := c.wants("demo", "GET /instances/"+i+"/events", "", 200, "power off"); strings.Contains(events, "power on") {
		t.Errorf("a power off is told as %s", events)
	}
}

func TestWeakness43ConsoleBytes(t *testing.T) {
	c := withObjects(t)
	url := concrete(c, "/instances/{instance_uuid}/consoledata")
	c.wants("demo", "GET "+url, "", 200, "login: \uFFFD")
}

func TestWeakness44NamespaceTwice(t *testing.T) {
	c := weak(t)
	c.wants("system", "POST /auth/namespaces/demo/metadata", `{"key": "a", "value": "b"}`, 200, "null")
	c.wants("system", "POST /auth/namespaces", `{"namespace": "demo", "key_name": "second", "key": "s"}`, 200, "demo")
	c.wants("system", "GET /auth/namespaces/demo/metadata", "", 200, `{"a":"b"}`)
	c.wants("system", "GET /auth/namespaces/demo/keys", "", 200, `["second","test"]`)
	c.wants("system", "POST /auth/namespaces/none/metadata", `{"key": "a", "value": "b"}`, 404, "namespace does not exist")
	c.wants("system", "POST /auth/namespaces/none/keys", `{"key_name": "a", "key": "b"}`, 404, "namespace does not exist")
	c.wants("system", "DELETE /auth/namespaces/none/keys/a", "", 404, "namespace does not exist")
}

func TestWeakness45Netblocks(t *testing.T) {
	c := weak(t)
	for _, block := range []string{`"10.0.0.0/30"`, `"10.0.0.0/31"`, `"10.0.0.0/32"`, `"fd00::/64"`, `167772160`, `"10.0.0.1/24"`, `""`, `null`} {
		c.wants("demo", "POST /networks", `{"netblock": `+block+`}`, 400, "netblock")
	}
}

func TestWeakness46Names(t *testing.T) {
	c := weak(t)
	for _, name := range []string{"", "a.b", "a b", "ü", strings.Repeat("a", 64)} {
		c.wants("demo", "POST /instances", `{"name": "`+name+`", "cpus": 1, "memory": 64`+oneDisk+`}`, 400, "name")
	}
}

func TestWeakness47Length(t *testing.T) {
	c := withObjects(t)
	url := concrete(c, "/instances/{instance_uuid}/consoledata")
	for _, length := range []string{"?length=3", "?length=1"} {
		short := c.wants("demo", "GET "+url+length, "", 200, "")
		if long := c.wants("demo", "GET "+url, "", 200, ""); len(short) >= len(long) {
			t.Errorf("%s: %q of %q", length, short, long)
		}
	}
}

func TestWeakness49WorkOutlivesItsRequest(t *testing.T) {
	c := weak(t)
	i := c.makes("demo", "POST /instances?async=1", vm(oneDisk))
	for version := ""; ; {
		var now instanceWire
		if err := json.Unmarshal([]byte(c.wants("demo", "GET /instances/"+i+"?wait=60&version="+version, "", 200, "")), &now); err != nil {
			t.Fatal(err)
		}
		if version = now.Version; now.State == "created" {
			return
		}
	}
}

func TestWeakness51ErrorsSayWhy(t *testing.T) {
	c := weak(t)
	c.wants("demo", "POST /instances", `{"name": "vm", "cpus": 1, "memory": 9999999`+oneDisk+`}`, 507, "not enough RAM: 9999999 MiB asked")
}

func TestWeakness55RepeatedCreates(t *testing.T) {
	c := weak(t)
	once := http.Header{"Idempotency-Key": {"k"}}
	var first, second *httptest.ResponseRecorder
	for url, body := range map[string]string{"/instances": vm(oneDisk), "/networks": `{"netblock": "10.0.0.0/24"}`} {
		first, second = c.ask("demo", "POST", url, once, body), c.ask("demo", "POST", url, once, body)
		if first.Code != 200 || first.Body.String() != second.Body.String() {
			t.Errorf("%s: %s and then %s", url, first.Body, second.Body)
		}
		if n := strings.Count(c.wants("demo", "GET "+url, "", 200, ""), `"namespace"`); n != 1 {
			t.Errorf("%s: there are %d", url, n)
		}
	}
}
