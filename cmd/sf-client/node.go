package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// nodes are the commands about nodes.
func (a *app) nodes() *cobra.Command {
	return group("node", "The hosts of the cloud (for the namespace system)",
		a.does(&cobra.Command{Use: "list", Short: "List nodes", Args: exactly(), Example: "  sf-client node list"}, a.nodeList),
		a.on(nodeNoun, &cobra.Command{Use: "show NODE", Short: "Show a node and what is claimed of it", Args: exactly("NODE"),
			Example: "  sf-client node show sf-1"}, a.nodeShow),
		a.on(nodeNoun, &cobra.Command{Use: "cordon NODE", Short: "Make a node take no new instances; what runs there runs on", Args: exactly("NODE"),
			Example: "  sf-client node cordon sf-1"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.done(c.CordonNode(ctx, args[0]))
			}),
		a.on(nodeNoun, &cobra.Command{Use: "uncordon NODE", Short: "Let a node take new instances again", Args: exactly("NODE"),
			Example: "  sf-client node uncordon sf-1"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.done(c.UncordonNode(ctx, args[0]))
			}),
		a.drain(),
		a.on(nodeNoun, &cobra.Command{Use: "remove NODE", Short: "Remove a node that is gone for good, and on which no instance is left", Args: exactly("NODE"),
			Example: "  sf-client node remove sf-1"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.done(c.RemoveNode(ctx, args[0]))
			}))
}

func (a *app) drain() *cobra.Command {
	c := &cobra.Command{
		Use:   "drain NODE",
		Short: "Cordon a node, and give its routers and, if asked for, its instances to other nodes",
		Long: `Cordon a node, and give its routers and, if asked for, its instances to other nodes.

With --recover its instances are shut down and started again on other nodes from
their images: WHAT IS ON THEIR DISKS IS LOST. Without it they run on, and are shown
as what remains. The exit status is 1 while something remains; the command can be
repeated.`,
		Example: "  sf-client node drain sf-1\n  sf-client node drain sf-1 --recover --ask 5m",
		Args:    exactly("NODE"),
	}
	var opt client.DrainOptions
	c.Flags().BoolVar(&opt.Recover, "recover", false, "start its instances again elsewhere, which loses what is on their disks")
	c.Flags().DurationVar(&opt.Ask, "ask", time.Minute, "how long guests are asked to shut down before their plug is pulled; 0 asks nobody")
	return a.on(nodeNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		if opt.Ask == 0 {
			opt.Ask = -1
		}
		d, err := cl.DrainNode(ctx, args[0], opt)
		if err != nil {
			return err
		}
		if a.format == asJSON {
			err = a.printJSON(object{"routers": d.Routers, "recovered": d.Recovered, "remains": d.Remains})
		} else {
			l := &list{columns: []string{"what", "uuid", "why"}}
			for _, id := range d.Routers {
				l.add("router moved", id, nil)
			}
			for _, id := range d.Recovered {
				l.add("instance recovered", id, nil)
			}
			for _, id := range slices.Sorted(maps.Keys(d.Remains)) {
				l.add("remains", id, d.Remains[id])
			}
			err = a.print(l)
		}
		if err == nil && len(d.Remains) > 0 {
			err = toldError{spec.Errorf(spec.ErrInUse, "node %s is not empty", args[0])}
		}
		return err
	})
}

// recovers is the command that starts an instance of a node that is gone elsewhere.
func (a *app) recovers() *cobra.Command {
	c := &cobra.Command{
		Use:   "recover INSTANCE",
		Short: "Start an instance whose node is gone on another (for the namespace system)",
		Long: `Start an instance whose node is gone on another, from its images.

It keeps its interfaces, addresses and user data; WHAT WAS ON ITS DISKS IS LOST.
Nothing may run twice: unless the node stops its machines by itself when it is cut
off, make sure that it is off, and say so with --fenced.`,
		Example: "  sf-client instance recover vm1 --fenced",
		Args:    exactly("INSTANCE"),
	}
	fenced := c.Flags().Bool("fenced", false, "the node is off: I have made sure")
	p := a.patient(c)
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		_, err := p.client(cl).RecoverInstance(ctx, args[0], *fenced)
		return a.done(p.settle(err, func() error { return a.waitInstance(ctx, cl, args[0], client.InstanceCreated) }))
	})
}

func (a *app) nodeList(ctx context.Context, c *client.Client, _ []string) error {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	columns := []string{"name", "ip", "lastseen", "version"}
	l := &list{name: "nodes", columns: columns, fields: columns, rows: [][]any{}}
	for _, n := range nodes {
		l.add(n.Name, n.Address, stamp(n.Seen), orNone(n.Version))
	}
	return a.print(l)
}

func (a *app) nodeShow(ctx context.Context, c *client.Client, args []string) error {
	n, err := c.Node(ctx, args[0])
	if err != nil {
		return err
	}
	if a.format == asJSON {
		return a.printJSON(object{"name": n.Name, "ip": orNone(n.Address), "lastseen": stamp(n.Seen), "version": orNone(n.Version),
			"live": n.Live, "cordoned": n.Cordoned, "driver": n.Driver, "accel": n.Accel,
			"notes": append([]string{}, n.Notes...), "limits": capacity(n.Limits), "used": capacity(n.Used)})
	}
	fields := []field{{"name", n.Name}, {"ip", orNone(n.Address)}, {"lastseen", a.local(n.Seen)}, {"version", orNone(n.Version)},
		{"live", n.Live}, {"cordoned", n.Cordoned}, {"driver", n.Driver}, {"accel", n.Accel}, {"notes", orNone(strings.Join(n.Notes, "; "))},
		{"cpus", claimed(n, func(c spec.Capacity) int { return c.CPUs })},
		{"memory", claimed(n, func(c spec.Capacity) int { return c.MemoryMiB })},
		{"disk", claimed(n, func(c spec.Capacity) int { return c.DiskGB })},
		{"instances", n.Used.Instances}}
	layout := "%-9s: %s\n"
	if a.format == simple {
		layout = "%s:%s\n"
	}
	for _, f := range fields {
		fmt.Fprintf(a.out, layout, f.name, show(f.value))
	}
	return nil
}

// claimed is what is claimed of what a node has to give.
func claimed(n *spec.Node, of func(spec.Capacity) int) string {
	return fmt.Sprintf("%d of %d", of(n.Used), of(n.Limits))
}

func capacity(c spec.Capacity) object {
	return object{"cpus": c.CPUs, "memory_mib": c.MemoryMiB, "disk_gb": c.DiskGB, "instances": c.Instances}
}
