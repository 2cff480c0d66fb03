package main

import (
	"context"
	"fmt"
	"strings"

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
			}))
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
