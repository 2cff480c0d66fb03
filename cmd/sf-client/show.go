package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// field is one line of what is shown of an object.
type field struct {
	name  string
	value any
}

// local is a time as Python prints a local one: with microseconds if there are any.
func (a *app) local(t time.Time) string {
	zone := a.zone
	if zone == nil {
		zone = time.Local
	}
	layout := "2006-01-02 15:04:05.000000"
	if t.Nanosecond()/1000 == 0 {
		layout = "2006-01-02 15:04:05"
	}
	return t.In(zone).Format(layout)
}

// trouble is what is shown besides of an object that is not as it should be.
func trouble(reason string, w *spec.Wait) (out []field) {
	if reason != "" {
		out = append(out, field{"error", reason})
	}
	if w != nil && w.Reason != "" {
		out = append(out, field{"waiting for", waiting(w)})
	}
	return out
}

// withTrouble adds the same to what is printed as JSON.
func withTrouble(o object, reason string, w *spec.Wait) object {
	if reason != "" {
		o["error"] = reason
	}
	if w != nil {
		o["wait"] = object{"reason": w.Reason, "since": w.Since, "attempts": w.Attempts, "done": w.Done, "total": w.Total}
	}
	return o
}

// waiting says what an object waits for.
func waiting(w *spec.Wait) string {
	s := w.Reason
	s += share(w.Done, w.Total)
	if w.Attempts > 0 {
		s += fmt.Sprintf(" (%d attempts failed)", w.Attempts)
	}
	return s
}

// share says how much of something is done, or "" where that is not known.
func share(done, total int64) string {
	switch {
	case done > 0 && total > 0:
		return fmt.Sprintf(" %d %% of %s", int64(float64(done)/float64(total)*100), megabytes(total))
	case done > 0:
		return " " + megabytes(done)
	}
	return ""
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// details are an instance and what is shown with it.
type details struct {
	*spec.Instance
	nics      []*spec.Interface
	metadata  spec.Metadata
	snapshots []*spec.Snapshot // nil where not asked for
}

func fetch(ctx context.Context, c *client.Client, id string, snapshots bool) (d details, err error) {
	if d.Instance, err = c.Instance(ctx, id); err != nil {
		return d, err
	}
	if d.nics, err = c.InstanceInterfaces(ctx, d.UUID); err != nil {
		return d, err
	}
	if d.metadata, err = c.Metadata(ctx, spec.KindInstance, d.UUID); err != nil || !snapshots {
		return d, err
	}
	d.snapshots, err = c.InstanceSnapshots(ctx, d.UUID)
	return d, err
}

func (d details) userData() any { return orNone(base64.StdEncoding.EncodeToString(d.UserData)) }

func (a *app) instanceShow(ctx context.Context, c *client.Client, id string, snapshots bool) error {
	d, err := fetch(ctx, c, id, snapshots)
	if err != nil {
		return err
	}
	switch a.format {
	case asJSON:
		return a.printJSON(d.object())
	case simple:
		a.showSimple(d)
	default:
		a.showPretty(d)
	}
	return nil
}

// head is what both texts begin with; the seed prints two lines more for people.
func (d details) head(disks, video []field) []field {
	out := []field{{"uuid", d.UUID}, {"name", d.Name}, {"namespace", d.Namespace}, {"cpus", d.CPUs}, {"memory", d.MemoryMiB}}
	out = append(append(out, disks...), video...)
	out = append(out, field{"node", orNone(d.Node)}, field{"power state", d.Status.Power}, field{"state", d.Status.State},
		field{"console port", d.Status.ConsolePort}, field{"vdi port", d.Status.VDIPort})
	return append(out, trouble(d.Status.Error, d.Status.Wait)...)
}

func (a *app) showPretty(d details) {
	var disks []string
	for _, k := range d.Disks {
		disks = append(disks, fmt.Sprintf("type=%-5s  bus=%-4s  size=%-2s  base=%s  ",
			show(orNone(k.Type)), show(orNone(k.Bus)), show(k.SizeGB), show(orNone(k.Base))))
	}
	line := func(f field) { fmt.Fprintf(a.out, "%-12s: %s\n", f.name, a.paintState(f.name, show(f.value))) }
	for _, f := range d.head(
		[]field{{"disk spec", strings.Join(disks, "\n"+strings.Repeat(" ", 14))}},
		[]field{{"video", fmt.Sprintf("model=%s  memory=%d  ", d.Video.Model, d.Video.MemoryKiB)}}) {
		line(f)
	}
	fmt.Fprintln(a.out)
	line(field{"ssh key", orNone(d.SSHKey)})
	line(field{"user data", d.userData()})
	fmt.Fprintln(a.out)
	a.metadata(d.metadata)
	fmt.Fprintln(a.out)
	fmt.Fprintln(a.out, "Interfaces:")
	for _, n := range d.nics {
		fmt.Fprintln(a.out)
		a.nicLines(n)
	}
	a.snapshotLines(d.snapshots)
}

func (a *app) showSimple(d details) {
	for _, f := range d.head(nil, nil) {
		fmt.Fprintf(a.out, "%s:%s\n", f.name, show(f.value))
	}
	fmt.Fprintf(a.out, "\nssh key:%s\nuser data:%s\n\n", show(orNone(d.SSHKey)), show(d.userData()))
	fmt.Fprintln(a.out, "disk_spec,type,bus,size,base")
	for _, k := range d.Disks {
		fmt.Fprintln(a.out, commas("disk_spec", orNone(k.Type), orNone(k.Bus), k.SizeGB, orNone(k.Base)))
	}
	fmt.Fprintf(a.out, "\nvideo,model,memory\n%s\n\n", commas("video", d.Video.Model, d.Video.MemoryKiB))
	a.metadataRows(d.metadata)
	fmt.Fprintln(a.out, "\niface,interface uuid,network uuid,macaddr,order,ipv4,floating") // without model, as ever
	for _, n := range d.nics {
		fmt.Fprintln(a.out, nicRow(n))
	}
	a.snapshotRows(d.snapshots)
}

func (d details) object() object {
	disks, nics := []object{}, []object{}
	for _, k := range d.Disks {
		disks = append(disks, object{"type": orNone(k.Type), "bus": orNone(k.Bus), "size": k.SizeGB, "base": orNone(k.Base)})
	}
	for _, n := range d.nics {
		nics = append(nics, nicObject(n))
	}
	o := withTrouble(object{
		"uuid": d.UUID, "name": d.Name, "namespace": d.Namespace, "cpus": d.CPUs, "memory": d.MemoryMiB, "disk_spec": disks,
		"video": object{"model": d.Video.Model, "memory": d.Video.MemoryKiB}, "node": orNone(d.Node), "console_port": d.Status.ConsolePort, "vdi_port": d.Status.VDIPort,
		"ssh_key": orNone(d.SSHKey), "user_data": d.userData(), "power_state": d.Status.Power, "state": d.Status.State,
		"network_interfaces": nics, "metadata": d.metadata,
	}, d.Status.Error, d.Status.Wait)
	if d.snapshots != nil {
		o["snapshots"] = snapshotObjects(d.snapshots)
	}
	return o
}

func (a *app) nicLines(n *spec.Interface) {
	for _, f := range []field{{"uuid", n.UUID}, {"network", n.Network}, {"macaddr", n.MAC}, {"order", n.Order},
		{"ipv4", address(n.Address)}, {"floating", address(n.Floating)}, {"model", n.Model}} {
		fmt.Fprintf(a.out, "    %-8s: %s\n", f.name, show(f.value))
	}
}

func nicRow(n *spec.Interface) string {
	return commas("iface", n.UUID, n.Network, n.MAC, n.Order, address(n.Address), address(n.Floating), n.Model)
}

func nicObject(n *spec.Interface) object {
	return object{"uuid": n.UUID, "network_uuid": n.Network, "macaddr": n.MAC, "order": n.Order,
		"ipv4": address(n.Address), "floating": address(n.Floating), "model": n.Model}
}
