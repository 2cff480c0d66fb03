//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// superviseVerb makes this program the process that looks after a cluster.
const superviseVerb = "supervise"

// That process inherits the cluster's lock, and a listener for each node.
const (
	lockFD = 3 + iota
	firstDoorFD
)

// supervise is the parent of all that runs in a cluster, until it is told to end,
// and everything with it: it serves the image, answers the world's DNS, relays the nodes' APIs to the
// host's loopback, and starts what it is asked to start.
func supervise(ctx context.Context, dir string) error {
	syscall.CloseOnExec(lockFD)
	p, err := loadPlan(dir)
	if err != nil {
		return err
	}
	r, err := newReaper()
	if err != nil {
		return err
	}
	if err := errors.Join(p.serveImage(), p.serveNames(ctx)); err != nil {
		return err
	}
	machines := map[string]*machine{}
	for k, n := range p.Nodes {
		machines[n.Name] = &machine{node: n, plan: p, reaper: r}
		door := os.NewFile(uintptr(firstDoorFD+k), n.Name)
		listener, err := net.FileListener(door)
		if err := errors.Join(err, door.Close()); err != nil {
			return fmt.Errorf("relay the API of %s: %w", n.Name, err)
		}
		go relay(listener, n)
	}
	control, err := net.Listen("unix", p.path(controlName))
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(p.path(controlName), 0o600), os.WriteFile(p.path("supervisor.pid"), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)); err != nil {
		return err
	}
	go obey(ctx, control, machines)
	<-ctx.Done()
	r.end()
	return nil
}

// serveImage answers in the world for the guest's image.
func (p *plan) serveImage() error {
	listener, err := listenIn(p.world(), gateway+":80")
	if err != nil {
		return fmt.Errorf("serve the guest's image: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /guest.qcow2", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, p.path("guest.qcow2")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // until the end of this process
	return nil
}

func listenIn(namespace, address string) (listener net.Listener, err error) {
	err = inside(namespace, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}

// relay makes a node's API reachable from the host's loopback.
func relay(listener net.Listener, n node) {
	for {
		from, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "relay:", n.Name, err)
			time.Sleep(100 * time.Millisecond) // out of descriptors, say
			continue
		}
		go connect(from, n.Name, "127.0.0.1:"+strconv.Itoa(n.Port))
	}
}

// connect carries one connection into a namespace. Each side's end of what it says
// is passed on by itself.
func connect(from net.Conn, namespace, address string) {
	defer from.Close()
	var to net.Conn
	err := inside(namespace, func() (err error) {
		to, err = net.Dial("tcp", address)
		return err
	})
	if err != nil {
		return // nobody is there: as closed as it is
	}
	defer to.Close()
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		io.Copy(to, from) // an error is an end too
		to.(*net.TCPConn).CloseWrite()
		done <- struct{}{}
	}
	go pass(to, from)
	go pass(from, to)
	<-done
	<-done
}

const controlName = "control"

// startTime is how long a node may take to start again.
const startTime = 2 * time.Minute

// obey answers one line with another: "start NODE" with "ok" or what went wrong.
func obey(ctx context.Context, control net.Listener, machines map[string]*machine) {
	for {
		conn, err := control.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "control:", err)
			return
		}
		go func() {
			defer conn.Close()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil {
				return
			}
			answer := "there is no such node"
			if m := machines[strings.TrimPrefix(strings.TrimSpace(line), "start ")]; m != nil {
				answer = "ok"
				starting, cancel := context.WithTimeout(ctx, startTime)
				if err := m.start(starting); err != nil {
					answer = err.Error()
				}
				cancel()
			}
			fmt.Fprintln(conn, answer)
		}()
	}
}

// ask has the supervising process start a node.
func ask(ctx context.Context, dir, name string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(dir, controlName))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := fmt.Fprintln(conn, "start "+name); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	switch text := strings.TrimSpace(string(answer)); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case text == "":
		return errors.New("the supervising process has ended")
	case text != "ok":
		return errors.New(text)
	}
	return nil
}

// startAgain is `cluster start NODE`.
func startAgain(ctx context.Context, dir, name string) error {
	p, err := loadPlan(dir)
	if err != nil {
		return fmt.Errorf("no cluster is in %s: %w", dir, err)
	}
	if _, err := p.node(name); err != nil {
		return err
	}
	if err := ask(ctx, dir, name); err != nil {
		return err
	}
	fmt.Println(name, "is up.")
	return nil
}
