//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/examples/internal/census"
)

// takeCensus counts the host and, where there is one yet, the demonstration in dir.
func takeCensus(dir string) (census.Census, error) {
	c, err := census.Host()
	if err != nil || dir == "" {
		return c, err
	}
	ours := func(proc string) bool {
		args, err := os.ReadFile(proc + "/cmdline")
		return err == nil && strings.Contains(string(args), dir) || census.Opens(proc, dir+"/data/")
	}
	return c, errors.Join(c.AddProcesses(ours), c.AddMounts(dir), c.AddFiles(dir))
}

// end deletes everything, through sf-client as long as there is a daemon, and
// shows that nothing is left.
func (d *demo) end(ctx context.Context) error {
	during, err := takeCensus(d.dir)
	if err != nil {
		return err
	}
	var errs []error
	if d.sfd != nil && d.sfd.pid != 0 {
		say("Delete everything, stop the daemon, and take what it made off the host.")
		for _, kind := range []string{"instance", "network"} {
			_, err := d.client(ctx, kind, "delete-all", "--confirm", "--namespace", "system")
			errs = append(errs, err)
		}
		errs = append(errs, d.sfd.stop(ctx), d.sfd.cleanup(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w; what is left is in %s, and its log in sfd.log there", err, d.dir)
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	say("What is left.")
	after, err := takeCensus(d.dir)
	if err != nil {
		return err
	}
	census.Show(d.before, during, after)
	if left := census.Left(d.before, after, census.Kinds...); len(left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	fmt.Println("Nothing.")
	return d.forwardAsBefore()
}

// forwardAsBefore puts back the one setting that sfd changes and leaves, since it
// cannot know who else relies on it by then. We do.
func (d *demo) forwardAsBefore() error {
	was, err := os.ReadFile(census.ForwardingFile)
	if err != nil || len(d.before[census.Forwarding]) == 0 || strings.TrimSpace(string(was)) == d.before[census.Forwarding][0] {
		return err
	}
	fmt.Printf("(net.ipv4.ip_forward was %s before and is %s again.)\n", d.before[census.Forwarding][0], d.before[census.Forwarding][0])
	return os.WriteFile(census.ForwardingFile, []byte(d.before[census.Forwarding][0]), 0)
}

// endOld ends a demonstration that was kept.
func (d *demo) endOld(ctx context.Context, dir string) (err error) {
	d.dir = dir
	if d.before, err = census.Load(dir); err != nil {
		return fmt.Errorf("%s is no demonstration that was kept: %w", dir, err)
	}
	d.sfd = &daemon{bin: d.bin, dir: dir}
	pid, err := os.ReadFile(filepath.Join(dir, "data", "lock"))
	if err != nil {
		return err
	}
	if d.sfd.pid, err = strconv.Atoi(strings.TrimSpace(string(pid))); err != nil {
		return err
	}
	// A process ID may be somebody else's by now: then sfd is not running any more.
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.sfd.pid))
	if err != nil || !strings.Contains(string(args), dir) {
		if d.sfd, err = startDaemon(ctx, d.bin, dir); err != nil {
			return err
		}
	}
	return d.end(ctx)
}

// sayHowToLookAround ends a demonstration that is kept.
func (d *demo) sayHowToLookAround(ctx context.Context) error {
	out, err := d.sfd.client(ctx, "--simple", "instance", "list")
	if err != nil {
		return err
	}
	instance := uuid.FindString(out)
	names, err := filepath.Glob(filepath.Join(d.dir, "netns", "*"))
	if err != nil || len(names) == 0 {
		return errors.Join(err, errors.New("the network's namespace is gone"))
	}
	say("Everything is left running. To look around:")
	fmt.Printf(`
alias sf-client="HOME=%s %s/sf-client"     # its key is in .shakenfist there
sf-client instance list
sf-client instance console %s     # Enter logs in, Ctrl-] leaves
nsenter --net=%s ip address     # the network's namespace
tail -f %s

To end it all:

go run ./examples/demo -stop %s
`, d.dir, d.bin, instance, names[0], d.sfd.log(), d.dir)
	return nil
}
