package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/client"
)

var update = flag.Bool("update", false, "write the golden files")

// The files of testdata are sessions: a line that begins with "$ " is a command
// line, what follows is what came of it: requests that change something, standard
// output, what went to standard error, and the exit status unless it is 0.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no sessions", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := session(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("the session went differently (-want +got):\n%s", d)
			}
		})
	}
}

func session(t *testing.T, script string) string {
	s := &server{replies: replies}
	h := httptest.NewServer(s)
	defer h.Close()
	var out bytes.Buffer
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "#"):
			fmt.Fprintf(&out, "\n%s\n", line)
		case strings.HasPrefix(line, "$ sf-client "):
			fmt.Fprintln(&out, line)
			out.WriteString(runLine(h.URL, s, words(line)[2:]))
		}
	}
	return strings.TrimPrefix(out.String(), "\n")
}

// words splits a command line as a shell does; single quotes may stand around a word.
func words(line string) (words []string) {
	for word := range strings.FieldsSeq(line) {
		if len(word) > 1 && word[0] == '\'' && word[len(word)-1] == '\'' {
			word = word[1 : len(word)-1]
		}
		words = append(words, word)
	}
	return words
}

// testApp is an app without a terminal that talks to a server as demo.
func testApp(url string) (*app, *bytes.Buffer, *bytes.Buffer) {
	var out, errOut bytes.Buffer
	return &app{
		in: strings.NewReader(""), out: &out, errOut: &errOut, zone: time.UTC,
		sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		finder: client.Finder{Files: []string{}, Getenv: func(name string) string {
			return map[string]string{"SHAKENFIST_NAMESPACE": "demo", "SHAKENFIST_KEY": "k", "SHAKENFIST_API_URL": url}[name]
		}},
	}, &out, &errOut
}

func runLine(url string, s *server, args []string) string {
	a, out, errOut := testApp(url)
	s.log.Reset()
	status := a.run(context.Background(), args)
	text := s.log.String() + out.String()
	if errOut.Len() > 0 {
		text += "[stderr]\n" + errOut.String()
	}
	if status != 0 {
		text += fmt.Sprintf("[exit %d]\n", status)
	}
	return strings.ReplaceAll(text, url, "http://server:13000")
}

// server answers with what a server of 0.2.6 or of ours would, from a table.
type server struct {
	replies map[string]string // by method and path
	log     bytes.Buffer      // requests that change something
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	what := r.Method + " " + r.URL.EscapedPath()
	if r.Method != http.MethodGet && what != "POST /auth" {
		fmt.Fprintf(&s.log, "[%s %s %s]\n", r.Method, r.URL.RequestURI(), body)
	}
	if bytes.Contains(body, []byte(`"dry_run":true`)) {
		what = "dry run"
		if bytes.Contains(body, []byte(`"cpus":99`)) {
			what = "dry run in vain"
		}
	}
	reply, ok := s.replies[what]
	if what == "POST /auth" && bytes.Contains(body, []byte(`"stranger"`)) {
		reply = `{"error": "unauthorized", "status": 401, "class": "unauthorized"}`
	}
	if !ok {
		w.WriteHeader(404)
		fmt.Fprintln(w, `{"error": "not found", "status": 404}`)
		return
	}
	if strings.HasPrefix(reply, ":") {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Query().Get("after") == "12" { // where the stream ends
			reply = `{"error": "unauthorized", "status": 401, "class": "unauthorized"}`
		}
	}
	failure := struct{ Status int }{}
	if json.Unmarshal([]byte(reply), &failure) == nil && failure.Status != 0 {
		w.WriteHeader(failure.Status)
	}
	fmt.Fprintln(w, reply)
}

const (
	i1 = "11111111-1111-4111-8111-111111111111"
	i2 = "22222222-2222-4222-8222-222222222222"
	n1 = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	n2 = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	n3 = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
	s1 = "55555555-5555-4555-8555-555555555555"
	s2 = "66666666-6666-4666-8666-666666666666"
	f1 = "ffffffff-1111-4fff-8fff-ffffffffffff"
	f2 = "ffffffff-2222-4fff-8fff-ffffffffffff"
)

// replies of the seed's form; those of the second instance are ours.
var replies = map[string]string{
	"POST /auth": `{"access_token": "t"}`,
	"GET /nodes": `[{"name": "sf-1", "ip": "10.0.0.11", "lastseen": 1601091234.56, "version": "0.2.6"}, {"name": "sf-2", "ip": "10.0.0.12", "lastseen": 1601091235, "version": null, "live": true, "cordoned": true, "driver": "qemu", "accel": "kvm", "notes": ["no nested virtualisation"], "limits": {"cpus": 32, "memory_mib": 16384, "disk_gb": 100, "instances": 0}, "used": {"cpus": 3, "memory_mib": 2560, "disk_gb": 16, "instances": 2}}]`,

	"GET /auth/namespaces":                    `["system", "dém\u00f6"]`,
	"POST /auth/namespaces":                   `"new"`,
	"DELETE /auth/namespaces/new":             `null`,
	"DELETE /auth/namespaces/demo":            `{"error": "you cannot delete a namespace with instances", "status": 400}`,
	"DELETE /auth/namespaces/system":          `{"error": "you cannot delete the system namespace", "status": 403}`,
	"GET /auth/namespaces/demo/keys":          `["deploy", "me"]`,
	"POST /auth/namespaces/demo/keys":         `"me"`,
	"DELETE /auth/namespaces/demo/keys/me":    `null`,
	"DELETE /auth/namespaces/demo/keys/none":  `{"error": "key name not found in namespace", "status": 404}`,
	"GET /auth/namespaces/demo/metadata":      `{"a": "b", "longer key": [1, "x"]}`,
	"PUT /auth/namespaces/demo/metadata/a":    `null`,
	"DELETE /auth/namespaces/demo/metadata/a": `null`,
	"GET /auth/namespaces/other/keys":         `{"error": "unauthorized", "status": 401, "class": "forbidden"}`,

	"GET /networks":                          `[{"uuid": "` + n1 + `", "vxlan_id": 0, "netblock": "192.168.1.0/24", "provide_dhcp": true, "provide_nat": true, "namespace": "demo", "name": "mynet"}, {"uuid": "` + n2 + `", "netblock": "10.0.0.0/8", "namespace": "demo", "name": "twin", "state": "error"}, {"uuid": "` + n3 + `", "netblock": "10.0.0.0/8", "namespace": "demo", "name": "twin", "state": "created"}]`,
	"POST /networks":                         `{"uuid": "` + n1 + `", "state": "initial"}`,
	"GET /networks/" + n1:                    `{"uuid": "` + n1 + `", "vxid": 1, "netblock": "192.168.1.0/24", "provide_dhcp": true, "provide_nat": false, "namespace": "demo", "floating_gateway": null, "name": "mynet", "state": "created", "state_updated": 1601091234.56}`,
	"GET /networks/" + n1 + "/metadata":      `{"a": "b"}`,
	"PUT /networks/" + n1 + "/metadata/a":    `null`,
	"DELETE /networks/" + n1 + "/metadata/a": `null`,
	"DELETE /networks/" + n1:                 `{"error": "you cannot delete an in use network", "status": 403}`,
	"DELETE /networks":                       `["` + n1 + `"]`,
	"GET /networks/" + n1 + "/interfaces":    `[{"uuid": "` + f1 + `", "network_uuid": "` + n1 + `", "instance_uuid": "` + i1 + `", "macaddr": "00:00:00:a8:58:f9", "ipv4": "192.168.1.24", "order": 0, "floating": null, "state": "created", "model": "virtio"}]`,
	"GET /networks/" + n1 + "/events":        `[{"timestamp": 1601091234.5, "object_type": "network", "object_uuid": "` + n1 + `", "fqdn": "sf-1", "operation": "api", "phase": "create", "duration": null, "message": null}]`,
	"GET /networks/" + n3:                    `{"error": "network not found", "status": 404}`,

	"GET /interfaces/" + f1: `{"uuid": "` + f1 + `", "network_uuid": "` + n1 + `", "instance_uuid": "` + i1 + `", "macaddr": "00:00:00:a8:58:f9", "ipv4": "192.168.1.24", "order": 0, "floating": "192.168.20.9", "state": "created", "state_updated": 1601091239.9, "model": "virtio"}`,
	"dry run":               `{"node": "sf-1", "nodes": ["sf-1", "sf-3"], "why_not": {"sf-2": "it is cordoned"}}`,

	"dry run in vain": `{"node": null, "nodes": [], "why_not": {"sf-1": "not enough CPUs"}}`,

	"POST /interfaces/" + f1 + "/float":   `null`,
	"POST /interfaces/" + f1 + "/defloat": `{"error": "this interface does not have a floating ip", "status": 409}`,
	"POST /nodes/sf-1/cordon":             `null`,
	"POST /nodes/sf-1/uncordon":           `null`,
	"POST /nodes/sf-1/drain":              `{"routers": ["` + n1 + `"], "recovered": [], "remains": {"` + i1 + `": "instance vm1 runs there"}}`,
	"POST /nodes/sf-2/drain":              `{"routers": [], "recovered": ["` + i1 + `"], "remains": {}}`,
	"DELETE /nodes/sf-1":                  `null`,
	"DELETE /nodes/sf-2":                  `{"error": "node sf-2 is there: drain it and stop its daemon first", "status": 409, "class": "conflict"}`,
	"POST /instances/" + i1 + "/recover":  instance1,
	"POST /nodes/sf-9/cordon":             `{"error": "unauthorized", "status": 401, "class": "forbidden"}`,
	"POST /nodes/sf-9/uncordon":           `{"error": "unauthorized", "status": 401, "class": "unauthorized"}`,

	"GET /instances":                             `[` + instance1 + `,` + instance2 + `]`,
	"POST /instances":                            instance1,
	"GET /instances/" + i1:                       instance1,
	"GET /instances/" + i1 + "/interfaces":       `[{"uuid": "` + f1 + `", "network_uuid": "` + n1 + `", "instance_uuid": "` + i1 + `", "macaddr": "00:00:00:a8:58:f9", "ipv4": "192.168.1.24", "order": 0, "floating": null, "state": "created", "state_updated": 1601091239.9, "model": "virtio"}]`,
	"GET /instances/" + i1 + "/metadata":         `{"a": "b"}`,
	"PUT /instances/" + i1 + "/metadata/a":       `null`,
	"DELETE /instances/" + i1 + "/metadata/a":    `null`,
	"GET /instances/" + i1 + "/events":           `[{"timestamp": 1601091234.5, "object_type": "instance", "object_uuid": "` + i1 + `", "fqdn": "sf-1", "operation": "schedule", "phase": "finish", "duration": 0.17, "message": null}, {"timestamp": 1601091299, "object_type": "instance", "object_uuid": "` + i1 + `", "fqdn": "sf-1", "operation": "trigger", "phase": null, "duration": null, "message": "login prompt"}]`,
	"GET /instances/" + i1 + "/consoledata":      `vm1 login:`,
	"POST /instances/" + i1 + "/poweron":         `null`,
	"POST /instances/" + i1 + "/poweroff":        `null`,
	"POST /instances/" + i1 + "/pause":           `null`,
	"POST /instances/" + i1 + "/unpause":         `{"error": "server error", "status": 500}`,
	"POST /instances/" + i1 + "/rebootsoft":      `null`,
	"POST /instances/" + i1 + "/reboothard":      `{"id": "16f-a", "instance_uuid": "` + i1 + `", "kind": "reset", "snapshot_uuid": null, "created": 1601091300, "state": "pending", "state_updated": 1601091300}`,
	"GET /instances/" + i1 + "/operations":       `[` + operation1 + `, ` + operation2 + `]`,
	"GET /instances/" + i1 + "/operations/16f-a": operation1,
	"POST /instances/" + i2 + "/rebootsoft":      `{"error": "reboot: the guest does not listen", "status": 500, "class": "failed"}`,
	"POST /instances/" + i2 + "/reboothard":      `{"error": "instance vm2 is off: only one that is on can be rebooted", "status": 409, "class": "conflict"}`,
	"POST /instances/" + i1 + "/snapshot":        `"` + s1 + `"`,
	"GET /instances/" + i1 + "/snapshot":         `[{"uuid": "` + s1 + `", "device": "vda", "instance_uuid": "` + i1 + `", "created": 1601091300}, {"uuid": "` + s1 + `", "device": "vdc", "instance_uuid": "` + i1 + `", "created": 1601091300}]`,
	"GET /instances/" + i2 + "/snapshot":         `[]`,
	"GET /snapshots":                             `[` + snapshot1 + `, ` + snapshot2 + `]`,
	"GET /snapshots/" + s1:                       snapshot1,
	"GET /snapshots/" + s1 + "/vda":              `content`,
	"GET /snapshots/" + s2:                       snapshot2,
	"DELETE /snapshots/" + s1:                    `null`,
	"POST /images":                               `null`,
	"GET /images":                                `[` + image1 + `, {"id": "b2", "names": ["http://x/cd.iso", "cd"], "node": "sf-1", "format": "raw", "cdrom": true, "size": 7, "virtual_size": 7, "used": 1601091301, "users": 0}]`,
	"GET /images/a1":                             image1,
	"DELETE /images/a1":                          `{"error": "image a1 is in use", "status": 403, "class": "in-use"}`,
	"DELETE /images/b2":                          `null`,
	"DELETE /instances":                          `["` + i1 + `"]`,
	"GET /instances/" + i2:                       instance2,
	"GET /instances/" + i2 + "/interfaces":       `[]`,
	"GET /instances/" + i2 + "/metadata":         `{}`,
	"DELETE /instances/" + i2:                    `null`,
	"POST /instances/" + i2 + "/poweron":         `{"error": "insufficient capacity: sf-1 has no memory", "status": 507}`,
	"POST /instances/" + i2 + "/poweroff":        `{"error": "address 10.0.0.7 in use", "status": 409}`,
	"POST /instances/" + i2 + "/pause":           `{"error": "it is not created after 10m0s", "status": 504, "class": "timeout"}`,
	"GET /instances/" + i2 + "/events":           `[]`,
	"POST /instances/" + i2 + "/unpause":         `null`,
	"POST /interfaces/" + f2 + "/defloat":        `null`,
	"DELETE /networks/" + n2:                     `null`,
	"GET /events":                                events,
	"POST /instances/" + i2 + "/recover":         `{"error": "node sf-1 is there: drain it instead", "status": 409, "class": "conflict"}`,
	"PUT /instances/" + i2 + "/metadata/a":       `{"error": "the metadata of an object has at most 64 KiB", "status": 400, "class": "invalid"}`,
	"POST /interfaces/" + f2 + "/float":          `{"error": "no floating address is free", "status": 507, "class": "no-capacity"}`,
}

const (
	snapshot1 = `{"uuid": "` + s1 + `", "instance_uuid": "` + i1 + `", "namespace": "demo", "node": "sf-2", "created": 1601091300, "devices": ["vda", "vdc"], "state": "created", "state_updated": 1601091301.5,
 "files": [{"device": "vda", "size": 1048576, "virtual_size": 8589934592}, {"device": "vdc", "size": 2048, "virtual_size": 1073741824}]}`
	snapshot2  = `{"uuid": "` + s2 + `", "instance_uuid": "` + i2 + `", "namespace": "demo", "node": "sf-1", "created": 1601091400, "devices": ["vda"], "state": "error", "error": "no space left", "files": []}`
	image1     = `{"id": "a1", "names": ["cirros"], "node": "sf-1", "format": "qcow2", "cdrom": false, "size": 20000000, "virtual_size": 1073741824, "used": 1601091300.5, "users": 2}`
	operation1 = `{"id": "16f-a", "instance_uuid": "` + i1 + `", "kind": "reset", "snapshot_uuid": null, "created": 1601091300, "state": "done", "state_updated": 1601091301}`
	operation2 = `{"id": "16f-b", "instance_uuid": "` + i1 + `", "kind": "snapshot", "snapshot_uuid": "` + s1 + `", "created": 1601091310.5, "state": "failed", "state_updated": 1601091311, "error": "no space left"}`
)

// events are a stream: two commits, and a gap between them.
const events = `: events follow

data: {"timestamp": 1601091299, "object_type": "instance", "object_uuid": "` + i1 + `", "fqdn": "sf-1", "operation": "trigger", "phase": null, "duration": null, "message": "login prompt"}

id: 10
data: {"timestamp": 1601091234.5, "object_type": "network", "object_uuid": "` + n1 + `", "fqdn": "sf-1", "operation": "api", "phase": "create", "duration": 0.17, "message": null}

event: gap
data: {}

id: 12
data: {"timestamp": 1601091300, "object_type": "node", "object_uuid": "sf-2", "fqdn": null, "operation": "cordon", "phase": null, "duration": null, "message": null}
`

const instance1 = `{"uuid": "` + i1 + `", "name": "vm1", "cpus": 1, "memory": 2048,
 "disk_spec": [{"size": "8", "base": "cirros", "bus": null, "type": "disk"}, {"size": 16, "type": "disk"}],
 "ssh_key": null, "node": "sf-2", "console_port": 31839, "vdi_port": 34442, "user_data": "aGVsbG8=",
 "block_devices": {"devices": [{"type": "qcow2", "size": 8, "device": "vda", "bus": "virtio", "path": "/srv/vda", "base": "cirros", "present_as": "disk", "snapshot_ignores": false}], "finalized": true},
 "state": "created", "state_updated": 1601091240.1, "namespace": "demo", "power_state": "on", "power_state_previous": "initial", "power_state_updated": 1601091240.0, "video": {"model": "cirrus", "memory": 16384}}`

const instance2 = `{"uuid": "` + i2 + `", "name": "vm2", "cpus": 2, "memory": 512, "disk_spec": [{"size": 8, "base": "cirros", "bus": null, "type": null}],
 "ssh_key": "ssh-rsa AAAA", "node": "sf-1", "console_port": 0, "vdi_port": 0, "user_data": null, "block_devices": null,
 "state": "error", "state_updated": 1601091240.1, "namespace": "demo", "power_state": "initial", "video": {"model": "cirrus", "memory": 16384},
 "created": 1601091240.1, "power": {"want": "on", "generation": 1, "answered": 0}, "error": "no such image: cirros",
 "wait": {"reason": "downloading cirros", "since": "2020-09-26T03:34:00Z", "done": 5000000, "total": 20000000, "attempts": 2}}`

// Colours are for people on a terminal alone.
func TestColour(t *testing.T) {
	h := httptest.NewServer(&server{replies: replies})
	defer h.Close()
	for _, tt := range []struct {
		terminal bool
		args     []string
		colours  bool
	}{
		{true, []string{"instance", "list"}, true},
		{true, []string{"instance", "show", "vm2"}, true},
		{true, []string{"instance", "show", "nobody"}, true},
		{false, []string{"instance", "list"}, false},
		{true, []string{"--simple", "instance", "list"}, false},
		{true, []string{"--json", "instance", "show", "vm2"}, false},
		{true, []string{"--json", "instance", "show", "nobody"}, false},
	} {
		a, out, errOut := testApp(h.URL)
		a.colour = tt.terminal
		a.run(t.Context(), tt.args)
		if got := strings.Contains(out.String()+errOut.String(), "\x1b["); got != tt.colours {
			t.Errorf("%v, on a terminal %v: colours %v:\n%s", tt.args, tt.terminal, got, out)
		}
	}
}
