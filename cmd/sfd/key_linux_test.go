package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest"
)

// Root gets back in without a key, whether sfd runs or not.
func TestKeys(t *testing.T) {
	t.Parallel()
	ctx, dir := sftest.Context(t), t.TempDir()
	options := []string{"--data-dir", dir, "--client-file", filepath.Join(dir, "etc", "client.json"), "--api-port", "4711", "--log-level", "error"}
	c, err := parse(options, nil)
	if err != nil {
		t.Fatal(err)
	}
	founded, err := sf.Open(ctx, sf.Config{Store: openOptions(t, options...)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(founded.CreateNamespace(ctx, "other"), founded.Close(), founded.Config().Store.Close()); err != nil {
		t.Fatal(err)
	}
	t.Run("stopped", func(t *testing.T) { setKeys(t, c, options, "http://127.0.0.1:4711") })

	lock, err := lockDir(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	s := openOptions(t, options...)
	cloud, err := sf.Open(ctx, sf.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	stop, err := serveAdmin(c, &admin{store: s, cloud: cloud, at: reached{url: "http://127.0.0.1:5000"}, log: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if info, err := os.Stat(c.path(adminSocket)); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	t.Run("running", func(t *testing.T) { setKeys(t, c, options, "http://127.0.0.1:5000") })
}

func setKeys(t *testing.T, c *config, options []string, url string) {
	run := func(args ...string) string {
		t.Helper()
		status, said := invoke(t, append(args, options...)...)
		if status != 0 {
			t.Fatalf("sfd %s: %d, %s", strings.Join(args, " "), status, said)
		}
		return strings.TrimSpace(said)
	}
	secret := run("key", "set", "other", "mine")
	if len(secret) != 52 || !check(t, c, "other", secret) {
		t.Errorf("the printed secret %q is none", secret)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("well known\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := run("key", "set", "other", "mine", "--secret-file", file); said != "" || !check(t, c, "other", "well known") || check(t, c, "other", secret) {
		t.Errorf("with a file: %q", said)
	}
	if said := run("key", "set", "system", "rescue", "--write-client-file"); said != "" {
		t.Errorf("a secret that is in the client file is printed: %q", said)
	}
	f, err := client.ReadFile(c.clientFile)
	if err != nil || f.Namespace != sf.System || f.URL != url || !check(t, c, sf.System, f.Key) {
		t.Errorf("client file: %+v, %v", f, err)
	}
	if got := run("key", "list"); got != "rescue" {
		t.Errorf("list: %q", got)
	}
	if got := run("key", "list", "other"); got != "mine" {
		t.Errorf("list other: %q", got)
	}
	run("key", "delete", "other", "mine")
	if got := run("key", "list", "other"); got != "" || check(t, c, "other", "well known") {
		t.Errorf("after delete: %q", got)
	}
	for line, want := range map[string]string{
		"key list nobody":                                `there is no namespace "nobody"; there is other, system`,
		"key set nobody k":                               `there is no namespace "nobody"`,
		"key delete other k":                             `namespace other has no key "k"; it has none`,
		"key delete system k":                            "it has rescue",
		"key set other service_key":                      "illegal key name",
		"key set other a/b":                              "only letters, digits",
		"key set other k --secret-file /dev/null":        "between 1 and 72 bytes",
		"key set other k --secret-file /nonexistent/one": "--secret-file",
	} {
		status, said := invoke(t, append(strings.Fields(line), options...)...)
		if status != 1 || !strings.Contains(said, want) || strings.Count(said, "\n") != 1 {
			t.Errorf("sfd %s: %d, %q, want %q", line, status, said, want)
		}
	}
}

// check authenticates by a copy of the records.
func check(t *testing.T, c *config, namespace, secret string) bool {
	t.Helper()
	var archive bytes.Buffer
	if err := copyRecords(t.Context(), c, &archive); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	file := filepath.Join(copied, "archive")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "restore", file, "--data-dir", copied)
	s := openOptions(t, "--data-dir", copied)
	defer s.Close()
	cloud, err := sf.Open(t.Context(), sf.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	_, err = cloud.Authenticate(t.Context(), namespace, secret)
	return err == nil
}

// A lost client file is written again beside the daemon, and works.
func TestKeyOfDaemon(t *testing.T) {
	l := newLab(t)
	l.start()
	if err := os.Remove(filepath.Join(l.dir, "client.json")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"key", "set", "system", "again", "--write-client-file"}, l.args()...)...)
	cmd.Env = append(os.Environ(), asDaemon+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.connect()
	if _, err := l.client.Nodes(timeout(t)); err != nil {
		t.Error(err)
	}
}

// Somebody else's words on the socket are an error that says so.
func TestForeignSocket(t *testing.T) {
	c := inDir(t)
	if err := os.WriteFile(c.path(storeName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", c.path(adminSocket))
	if err != nil {
		t.Fatal(err)
	}
	foreign := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "what?")
	})}
	defer foreign.Close()
	go foreign.Serve(l)
	if status, said := invoke(t, "key", "list", "--data-dir", c.dataDir); status != 1 || !strings.Contains(said, "another version") {
		t.Errorf("%d, %s", status, said)
	}
}
