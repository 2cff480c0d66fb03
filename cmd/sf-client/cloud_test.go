package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/api"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// real is a command line for a real cloud on a simulated host.
type real struct {
	t      *testing.T
	url    string
	cloud  *sftest.Cloud
	stdin  io.Reader
	stderr bytes.Buffer
}

func newReal(t *testing.T) *real {
	c := sftest.New(t)
	ctx := sftest.Context(t)
	for _, ns := range []string{"demo", "system"} {
		if err := c.CreateNamespace(ctx, ns); err != nil {
			t.Fatal(err)
		}
		if err := c.SetKey(ctx, ns, "test", "k"); err != nil {
			t.Fatal(err)
		}
	}
	h := httptest.NewServer(api.New(c.Cloud, api.Config{}))
	t.Cleanup(h.Close)
	return &real{t: t, url: h.URL, cloud: c, stdin: strings.NewReader("")}
}

// run runs a command line, which must succeed, and returns its output.
func (r *real) run(args ...string) string {
	r.t.Helper()
	a, out, _ := testApp(r.url)
	a.sleep, a.in, a.progress, a.errOut = nil, r.stdin, true, &r.stderr
	if status := a.run(sftest.Context(r.t), args); status != 0 {
		r.t.Fatalf("sf-client %s: exit %d: %s%s", strings.Join(args, " "), status, out, &r.stderr)
	}
	return out.String()
}

// uuid returns the UUID that a create printed.
func (r *real) uuid(args ...string) string {
	r.t.Helper()
	var made struct{ UUID string }
	if err := json.Unmarshal([]byte(r.run(args...)), &made); err != nil || !spec.ValidUUID(made.UUID) {
		r.t.Fatalf("no UUID: %v", err)
	}
	return made.UUID
}

// TestLife takes an instance through its life, by the command line alone.
func TestLife(t *testing.T) {
	r := newReal(t)
	network := r.uuid("--json", "network", "create", "10.0.0.0/24", "net")
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros", "-n", network+"@10.0.0.9", "-U", "aGVsbG8=")
	r.run("instance", "wait", vm, "--for", "login")
	if out := r.run("instance", "show", vm); !strings.Contains(out, "state       : created\n") || !strings.Contains(out, "ipv4    : 10.0.0.9\n") || !strings.Contains(out, "user data   : aGVsbG8=\n") {
		t.Errorf("show:\n%s", out)
	}
	if out := r.run("instance", "consoledata", vm); !strings.Contains(out, "vm1 login:") {
		t.Errorf("consoledata: %q", out)
	}
	if out := r.run("--simple", "instance", "events", vm); !strings.Contains(out, ",node1,trigger,None,None,login prompt\n") {
		t.Errorf("events:\n%s", out)
	}
	for _, step := range [][2]string{{"pause", "paused"}, {"unpause", "on"}, {"poweroff", "off"}, {"poweron", "on"}} {
		r.run("instance", step[0], vm)
		if out := r.run("--simple", "instance", "show", vm); !strings.Contains(out, "power state:"+step[1]+"\n") {
			t.Errorf("after %s:\n%s", step[0], out)
		}
	}
	r.run("instance", "wait", vm, "--for", "login", "--timeout", "1m") // of the second start
	r.run("instance", "delete", vm)
	r.run("instance", "wait", vm, "--for", "deleted")
	r.run("network", "delete", network)
	if out := r.run("--json", "instance", "list", "true"); !strings.Contains(out, `"state": "deleted"`) {
		t.Errorf("list of all: %s", out)
	}
	r.run("namespace", "clean", "--confirm")
	r.cloud.ComeToRest(t)
}

// To say nothing is not to mean everything: system has to name what it deletes.
func TestSystemNamesWhatItDeletes(t *testing.T) {
	r := newReal(t)
	r.run("network", "create", "10.0.0.0/24", "net")
	r.run("instance", "create", "vm1", "1", "512", "-d", "8")
	for _, args := range [][]string{{"instance", "delete-all"}, {"network", "delete-all"}, {"namespace", "clean"}} {
		a, out, _ := testApp(r.url)
		status := a.run(sftest.Context(t), append([]string{"--namespace", "system"}, append(args, "--confirm")...))
		if want := "ERROR: Malformed Request: system user must specify parameter namespace\n"; status != exitFailed || out.String() != want {
			t.Errorf("%v: exit %d: %q, want %q", args, status, out, want)
		}
	}
	if out := r.run("--simple", "instance", "list"); !strings.Contains(out, ",vm1,") {
		t.Errorf("instances of another namespace: %s", out)
	}
	r.run("--namespace", "system", "namespace", "clean", "--confirm", "--namespace", "demo")
	if out := r.run("--simple", "network", "list"); strings.Contains(out, "net") && strings.Count(out, "\n") != 1 {
		t.Errorf("networks after clean: %s", out)
	}
}

// What is waited for is shown on a terminal, and wiped again.
func TestProgress(t *testing.T) {
	r := newReal(t)
	r.run("instance", "create", "vm1", "1", "512", "-d", "8@cirros")
	if got := r.stderr.String(); !strings.HasSuffix(got, "\r\x1b[K") || !strings.Contains(got, "\x1b[Kcreated") {
		t.Errorf("shown: %q", got)
	}
	line := &status{a: &app{progress: true, errOut: &r.stderr}}
	r.stderr.Reset()
	for _, done := range []int64{0, 5e6, 5e6, 20e6} {
		line.say(spec.StateCreating, &spec.Wait{Reason: "downloading cirros", Done: done, Total: 20e6})
	}
	line.clear()
	want := "\r\x1b[Kcreating: downloading cirros\r\x1b[Kcreating: downloading cirros 25 % of 20.0 MB\r\x1b[Kcreating: downloading cirros 100 % of 20.0 MB\r\x1b[K"
	if got := r.stderr.String(); got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
}

// A console that is not on a terminal is a pipe that ends with the machine.
func TestConsolePipe(t *testing.T) {
	r := newReal(t)
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros")
	seen := make(chan string)
	in, typed := io.Pipe()
	r.stdin = in
	go func() { seen <- r.run("instance", "console", vm) }()
	if _, err := typed.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	typed.Close()
	other := *r
	other.run("instance", "poweroff", vm)
	select {
	case <-seen:
	case <-time.After(time.Minute):
		t.Fatal("the console did not end with the machine")
	}
}

// On a terminal Ctrl-] leaves, and what was typed before it still arrives.
func TestEscape(t *testing.T) {
	near, far := net.Pipe()
	got := make(chan string)
	go func() {
		p := make([]byte, 100)
		n, _ := io.ReadAtLeast(far, p, 3)
		got <- string(p[:n])
	}()
	var out bytes.Buffer
	if err := relay(near, escapable{strings.NewReader("ls\x03\x1dnot this")}, &out); err != nil {
		t.Error(err)
	}
	if s := <-got; s != "ls\x03" {
		t.Errorf("the machine got %q", s)
	}
}

// A login prompt counts if it came since the machine was started; being paused is
// no start.
func TestLoginIsOfThisStart(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(1601091000+s, 0) }
	for _, tt := range []struct {
		name   string
		since  time.Time
		before spec.PowerState
		time   string
		last   string
		want   bool
	}{
		{"after the start", at(0), spec.PowerInitial, "1601091010", "", true},
		{"with the start", at(1), spec.PowerInitial, "1601091000", "", true},
		{"of an earlier start", at(100), spec.PowerOff, "1601091010", "", false},
		{"repeated in this one", at(100), spec.PowerOff, "1601091010", `, "count": 2, "last": 1601091110`, true},
		{"before a pause", at(100), spec.PowerPaused, "1601091010", "", true},
		{"before the guest restarted", at(0), spec.PowerInitial, "1601091010", `}, {"timestamp": 1601091020, "operation": "restarted"`, false},
		{"after the guest restarted", at(0), spec.PowerInitial, "1601091030", `}, {"timestamp": 1601091020, "operation": "restarted"`, true},
	} {
		h := httptest.NewServer(&server{replies: map[string]string{
			"POST /auth":              `{"access_token": "t"}`,
			"GET /instances/x/events": `[{"timestamp": ` + tt.time + `, "operation": "trigger", "message": "login prompt"` + tt.last + `}]`,
		}})
		c, err := client.New(client.Config{URL: h.URL, Namespace: "demo", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		i := &spec.Instance{UUID: "x", Status: spec.InstanceStatus{State: spec.StateCreated, Power: spec.PowerOn, PowerBefore: tt.before, PowerSince: tt.since}}
		if got, err := loggedIn(t.Context(), c)(i); got != tt.want || err != nil {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
		h.Close()
	}
}

// Without a server the exit status is 1, and the reason is said.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	a, out, _ := testApp(url)
	if status := a.run(context.Background(), []string{"instance", "list"}); status != 1 {
		t.Errorf("exit %d", status)
	}
	if !strings.HasPrefix(out.String(), "ERROR: Unable to connect to server: no answer from "+url) {
		t.Errorf("said %q", out)
	}
}

// Verbose says which requests are made, and no secret.
func TestVerbose(t *testing.T) {
	h := httptest.NewServer(&server{replies: replies})
	defer h.Close()
	a, _, errOut := testApp(h.URL)
	a.run(context.Background(), []string{"--verbose", "--key", "top-secret", "namespace", "add-key", "demo", "me", "new-secret"})
	said := errOut.String()
	if !strings.Contains(said, "POST "+h.URL+"/auth: 200 OK in ") || !strings.Contains(said, "/auth/namespaces/demo/keys: 200 OK") || strings.Contains(said, "secret") {
		t.Errorf("said %q", said)
	}
}

// Files are read by the options that take them.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	key, data := filepath.Join(dir, "key"), filepath.Join(dir, "data")
	os.WriteFile(key, []byte("ssh-ed25519 AAAA\n"), 0o600)
	os.WriteFile(data, []byte("#cloud-config\n"), 0o600)
	h := httptest.NewServer(&server{replies: replies})
	defer h.Close()
	s := h.Config.Handler.(*server)
	text := runLine(h.URL, s, []string{"instance", "create", "vm1", "1", "512", "-d", "8", "-i", key, "-u", data, "--async"})
	if !strings.Contains(text, `"ssh_key":"ssh-ed25519 AAAA\n","user_data":"I2Nsb3VkLWNvbmZpZwo="`) {
		t.Errorf("sent %s", text)
	}
}

// A stream of events goes on until it is interrupted, which is success, and tells where
// to go on from.
func TestEventsFollow(t *testing.T) {
	r := newReal(t)
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros")
	if out := r.run("events", "instance", "vm1"); !strings.Contains(out, " instance | "+vm) {
		t.Errorf("kept:\n%s", out)
	}
	lines, written := io.Pipe()
	ctx, interrupt := context.WithCancel(sftest.Context(t))
	defer interrupt()
	a, _, errOut := testApp(r.url)
	a.out, a.progress, a.sleep = written, true, nil
	status := make(chan int)
	go func() {
		status <- a.run(ctx, []string{"--simple", "instance", "events", "vm1", "--follow"})
		written.Close()
	}()
	next := func(want string) (position string) {
		t.Helper()
		for {
			line, err := readLine(lines)
			if err != nil {
				t.Fatalf("the stream ended before %q: %v", want, err)
			}
			if strings.Contains(line, want) {
				return line[strings.LastIndex(line, ",")+1:]
			}
		}
	}
	next("timestamp,node,operation,phase,duration,message,kind,object,position")
	next(",instance," + vm + ",")
	r.run("instance", "poweroff", "vm1")
	position := next("power")
	interrupt()
	go io.Copy(io.Discard, lines)
	if s := <-status; s != 0 {
		t.Errorf("exit %d", s)
	}
	if !strings.Contains(errOut.String(), "To go on from here: --follow --after ") || position == "None" {
		t.Errorf("said %q; the last position was %s", errOut, position)
	}
}

// readLine reads a line and not a byte more.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := r.Read(b); err != nil {
			return string(line), err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}
