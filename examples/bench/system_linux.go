package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/sf/image/qcow2"
)

// system measures the daemon and prints one benchmark line a figure.
func system(sfd string, rounds int) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sf-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d, err := startDaemon(sfd, dir)
	if err != nil {
		return err
	}
	defer d.stop()
	image, err := serveImage(dir)
	if err != nil {
		return err
	}
	return d.measure(image, rounds)
}

// loopbackUp makes a new network namespace usable for the daemon and its caller.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// serveImage serves a small image that boots nothing: what is measured is how
// long it takes until the machine runs.
func serveImage(dir string) (url string, err error) {
	path := filepath.Join(dir, "empty.qcow2")
	if err := qcow2.Create(path, qcow2.Options{Size: 64 << 20}); err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(l, http.FileServer(http.Dir(dir)))
	return "http://" + l.Addr().String() + "/empty.qcow2", nil
}

// daemon is a running sfd and how to call it.
type daemon struct {
	cmd     *exec.Cmd
	cleanup *exec.Cmd
	log     *os.File
	url     string
	token   string
	http    http.Client
}

func startDaemon(sfd, dir string) (*daemon, error) {
	log, err := os.Create(filepath.Join(dir, "sfd.log"))
	if err != nil {
		return nil, err
	}
	client := filepath.Join(dir, "client.json")
	netns := filepath.Join(dir, "netns")
	options := []string{"--data-dir", filepath.Join(dir, "data"), "--client-file", client,
		"--netns-dir", netns, "--api-port", "0", "--log-level", "warn"}
	d := &daemon{log: log, cmd: exec.Command(sfd, options...), cleanup: exec.Command(sfd, append(options, "--cleanup")...)}
	d.cmd.Stdout, d.cmd.Stderr, d.cleanup.Stdout, d.cleanup.Stderr = log, log, log, log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	for range 200 {
		if d.login(client) == nil {
			return d, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.stop()
	text, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("sfd does not answer:\n%s", text)
}

func (d *daemon) login(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c struct{ Namespace, Key, APIURL string }
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	d.url = c.APIURL
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := d.call("POST", "/auth", map[string]any{"namespace": c.Namespace, "key": c.Key}, &answer); err != nil {
		return err
	}
	d.token = answer.AccessToken
	return nil
}

func (d *daemon) stop() {
	d.cmd.Process.Signal(os.Interrupt)
	d.cmd.Wait()
	if err := d.cleanup.Run(); err != nil {
		text, _ := os.ReadFile(d.log.Name())
		fmt.Fprintf(os.Stderr, "bench: sfd --cleanup: %v:\n%s", err, text)
	}
	d.log.Close()
}

func (d *daemon) call(method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, d.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, got)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(got, answer)
	}
	return err
}

type object struct {
	UUID  string
	State string
	Error string
}

// power is a call that changes an instance's power.
type power struct {
	call string
	took []time.Duration
}

func (d *daemon) measure(image string, rounds int) error {
	rss, err := resident(d.cmd.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("BenchmarkSystem/idle-daemon 1 %d rss-bytes\n", rss)
	powers := []*power{{call: "pause"}, {call: "unpause"}, {call: "poweroff"}, {call: "poweron"}}
	var made, gone, netMade, netGone []time.Duration
	timed := func(into *[]time.Duration, f func() error) error {
		start := time.Now()
		err := f()
		*into = append(*into, time.Since(start))
		return err
	}
	for range rounds {
		var n, i object
		if err := timed(&netMade, func() error {
			return d.call("POST", "/networks", map[string]any{"netblock": "10.0.0.0/24", "provide_dhcp": true, "provide_nat": true, "name": "bench"}, &n)
		}); err != nil {
			return err
		}
		create := func() error {
			return d.call("POST", "/instances", map[string]any{
				"name": "bench", "cpus": 1, "memory": 256, "disk": []any{map[string]any{"base": image, "size": 1}},
				"network": []any{map[string]any{"network_uuid": n.UUID}},
			}, &i)
		}
		if err := timed(&made, create); err != nil {
			return err
		}
		if i.State != "created" {
			return fmt.Errorf("the instance is %q: %s", i.State, i.Error)
		}
		for _, p := range powers {
			if err := timed(&p.took, func() error { return d.call("POST", "/instances/"+i.UUID+"/"+p.call, nil, nil) }); err != nil {
				return err
			}
		}
		if err := timed(&gone, func() error { return d.call("DELETE", "/instances/"+i.UUID, nil, nil) }); err != nil {
			return err
		}
		if err := timed(&netGone, func() error { return d.call("DELETE", "/networks/"+n.UUID, nil, nil) }); err != nil {
			return err
		}
	}
	for _, p := range powers {
		fmt.Printf("BenchmarkSystem/%s %d %.0f ns/op\n", p.call, len(p.took), median(p.took))
	}
	for _, f := range []struct {
		name string
		d    []time.Duration
	}{{"create-instance", made[1:]}, {"delete-instance", gone}, {"create-network", netMade}, {"delete-network", netGone}} {
		fmt.Printf("BenchmarkSystem/%s %d %.0f ns/op\n", f.name, len(f.d), median(f.d))
	}
	return nil
}

// resident is a process's resident memory in bytes.
func resident(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var kb int64
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			_, err := fmt.Sscanf(rest, "%d kB", &kb)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", pid)
}
