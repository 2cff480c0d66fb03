package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// buildCLI compiles sf-client, once for all tests.
var buildCLI = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sf-client-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sf-client")
	out, err := exec.Command("go", "build", "-o", path, "../sf-client").CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return path, err
})

// cli makes an sf-client on the machine, as a user of it would start it.
func (l *lab) cli(ctx context.Context, args ...string) *exec.Cmd {
	l.Helper()
	path, err := buildCLI()
	if err != nil {
		l.Fatalf("sf-client: %v", err)
	}
	if err := os.Symlink("client.json", filepath.Join(l.dir, ".shakenfist")); err != nil && !os.IsExist(err) {
		l.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "SHAKENFIST_") || strings.HasPrefix(v, "HOME=")
	}), "HOME="+l.dir)
	return cmd
}

// sf runs sf-client to its end and returns what it printed.
func (l *lab) sf(ctx context.Context, args ...string) string {
	l.Helper()
	out, err := l.trySF(ctx, nil, args...)
	if err != nil {
		l.Fatalf("sf-client %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (l *lab) trySF(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	l.Helper()
	var out bytes.Buffer
	cmd := l.cli(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	if err := in(l.machine, cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// show is what "instance show" says of an instance.
type show struct {
	UUID        string `json:"uuid"`
	State       string `json:"state"`
	Power       string `json:"power_state"`
	ConsolePort int    `json:"console_port"`
	VDIPort     int    `json:"vdi_port"`
	Snapshots   []struct {
		UUID, Device string
	}
}

func (l *lab) show(ctx context.Context, id string) (s show) {
	l.Helper()
	out := l.sf(ctx, "--json", "instance", "show", id, "true")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		l.Fatalf("instance show: %v: %s", err, out)
	}
	return s
}
