package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// snapshot is the command that makes one.
func (a *app) snapshot() *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot INSTANCE [ALL]",
		Short: "Copy an instance's boot disk as it is now; with ALL, all its disks",
		Long: `Copy an instance's boot disk as it is now; with ALL, all its disks.

The instance runs on. The copy is of one moment, and kept on the instance's node
also when the instance is gone; see "sf-client snapshot". A new instance begins
from it with a disk like 8@snapshot:UUID.`,
		Example: "  sf-client instance snapshot vm1 true\n  sf-client instance create vm2 1 1024 -d 8@snapshot:SNAPSHOT",
		Args:    optionally("INSTANCE"),
	}
	p := a.patient(c)
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		all, err := truth(args, 1)
		if err != nil {
			return err
		}
		id, op, err := p.client(cl).Snapshot(ctx, args[0], all)
		if err == nil && !p.async {
			err = a.waitOperation(ctx, cl, op)
		}
		if err != nil {
			return err
		}
		if a.format == asJSON {
			return a.printJSON(object{"uuid": id})
		}
		_, err = fmt.Fprintf(a.out, "Created snapshot %s\n", id)
		return err
	})
}

// snapshots are the commands about what was copied.
func (a *app) snapshots() *cobra.Command {
	return group("snapshot", "Copies of instances' disks",
		a.does(&cobra.Command{Use: "list", Short: "List snapshots", Args: exactly(), Example: "  sf-client snapshot list"}, a.snapshotList),
		a.on(snapshotNoun, &cobra.Command{Use: "show SNAPSHOT", Short: "Show a snapshot", Args: exactly("SNAPSHOT"),
			Example: "  sf-client snapshot show 55555555-5555-4555-8555-555555555555"}, a.snapshotShow),
		a.download(),
		a.snapshotDelete(),
	)
}

func bytesOf(s *spec.Snapshot) (n int64) {
	for _, f := range s.Status.Files {
		n += f.Size
	}
	return n
}

func (a *app) snapshotList(ctx context.Context, c *client.Client, _ []string) error {
	snapshots, err := c.Snapshots(ctx)
	if err != nil {
		return err
	}
	l := &list{name: "snapshots", json: [][]any{},
		columns: []string{"uuid", "instance", "namespace", "node", "devices", "size", "created", "state"},
		fields:  []string{"uuid", "instance_uuid", "namespace", "node", "devices", "size", "created", "state"}}
	for _, s := range snapshots {
		l.add(s.UUID, s.Instance, s.Namespace, s.Node, strings.Join(s.Devices, " "), bytesOf(s), a.local(s.Created), s.Status.State)
		l.json = append(l.json, []any{s.UUID, s.Instance, s.Namespace, s.Node, s.Devices, bytesOf(s), whole(s.Created), s.Status.State})
	}
	return a.print(l)
}

func (a *app) snapshotShow(ctx context.Context, c *client.Client, args []string) error {
	s, err := c.SnapshotByID(ctx, args[0])
	if err != nil {
		return err
	}
	if a.format == asJSON {
		files := []object{}
		for _, f := range s.Status.Files {
			files = append(files, object{"device": f.Device, "size": f.Size, "virtual_size": f.VirtualSize})
		}
		return a.printJSON(withTrouble(object{"uuid": s.UUID, "instance_uuid": s.Instance, "namespace": s.Namespace, "node": s.Node,
			"devices": s.Devices, "created": whole(s.Created), "state": s.Status.State, "files": files}, s.Status.Error, nil))
	}
	layout := "%-9s: %s\n"
	if a.format == simple {
		layout = "%s:%s\n"
	}
	for _, f := range append([]field{{"uuid", s.UUID}, {"instance", s.Instance}, {"namespace", s.Namespace}, {"node", s.Node},
		{"created", a.local(s.Created)}, {"state", s.Status.State}}, trouble(s.Status.Error, nil)...) {
		fmt.Fprintf(a.out, layout, f.name, a.paintState(f.name, show(f.value)))
	}
	if a.format == simple {
		fmt.Fprintln(a.out, "\nfile,device,size,virtual_size")
		for _, f := range s.Status.Files {
			fmt.Fprintln(a.out, commas("file", f.Device, f.Size, f.VirtualSize))
		}
		return nil
	}
	fmt.Fprintln(a.out, "\nFiles:")
	for _, f := range s.Status.Files {
		fmt.Fprintf(a.out, "\n    device  : %s\n    size    : %d\n    virtual : %d\n", f.Device, f.Size, f.VirtualSize)
	}
	return nil
}

func (a *app) snapshotDelete() *cobra.Command {
	c := &cobra.Command{Use: "delete SNAPSHOT", Short: "Delete a snapshot; instances made from it keep what they need", Args: exactly("SNAPSHOT"),
		Example: "  sf-client snapshot delete 55555555-5555-4555-8555-555555555555"}
	p := a.patient(c)
	return a.on(snapshotNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		err := p.client(cl).DeleteSnapshot(ctx, args[0])
		return a.done(p.settle(err, func() error { return cl.WaitSnapshotGone(ctx, args[0]) }))
	})
}

// whole is a time as snapshots have it: in seconds, without a fraction unless the
// server gave one.
func whole(t time.Time) any {
	if t.Nanosecond() == 0 {
		return t.Unix()
	}
	return stamp(t)
}

// snapshotLines prints an instance's snapshots for people, by disk. Nil is none.
func (a *app) snapshotLines(snapshots []*spec.Snapshot) {
	if snapshots == nil {
		return
	}
	fmt.Fprintln(a.out, "\nSnapshots:")
	for _, s := range snapshots {
		for _, device := range s.Devices {
			fmt.Fprintf(a.out, "\n    %-8s: %s\n    %-8s: %s\n    %-8s: %s\n", "uuid", s.UUID, "device", device, "created", a.local(s.Created))
		}
	}
}

// snapshotRows is snapshotLines for scripts.
func (a *app) snapshotRows(snapshots []*spec.Snapshot) {
	if snapshots == nil {
		return
	}
	fmt.Fprintln(a.out, "\nsnapshot,uuid,device,created")
	for _, s := range snapshots {
		for _, device := range s.Devices {
			fmt.Fprintln(a.out, commas("snapshot", s.UUID, device, a.local(s.Created)))
		}
	}
}

// snapshotObjects is snapshotLines for programs.
func snapshotObjects(snapshots []*spec.Snapshot) []object {
	out := []object{}
	for _, s := range snapshots {
		for _, device := range s.Devices {
			out = append(out, object{"uuid": s.UUID, "device": device, "created": whole(s.Created)})
		}
	}
	return out
}
