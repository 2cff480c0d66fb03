package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/shakenfist/cloud/cmd/sfd/internal/doctor"
	"github.com/shakenfist/cloud/sf"
)

var doctorCommands = []*command{{
	name: "doctor", does: "tells what on this host belongs to which cloud, what is left over, and whether all is well",
	more: `It lists network namespaces, devices, firewall tables and rules, machines, emulator processes, disks,
snapshots and control groups, with who owns each and which record it is there for:

  ok        this node's, and a record names it
  orphan    this node's for certain, and no record names it
  foreign   another node's or cloud's; left alone
  unproven  it looks like sfd's, and nothing proves whose it is; left alone
  unknown   this node's, but the records cannot be read
  missing   a record says that it is here, and it is not

Exit status: 0 when all is well, 1 when anything is not.`,
	options: []option{
		{"fix", "", "", "", "remove orphans, each looked at once more right before; what the running sfd removes by itself is left to it",
			func(c *config, v string) (err error) { c.fix, err = boolean(v); return }},
		{"json", "", "", "", "print JSON",
			func(c *config, v string) (err error) { c.json, err = boolean(v); return }},
	},
	run: runDoctor,
}}

// printReport shows a report; findings are an exit status.
func printReport(c *config, call *call, r doctor.Report) error {
	if c.json {
		e := json.NewEncoder(call.stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else {
		doctor.Text(call.stdout, r)
	}
	if r.Findings > 0 {
		return errSaid
	}
	return nil
}

// records answers what the doctor asks.
func (a *admin) records(r *http.Request) (*doctor.Records, error) {
	var ask doctor.Ask
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return nil, fmt.Errorf("a question about records: %w", err)
	}
	ctx := r.Context()
	known := &doctor.Records{Cloud: a.cloud.ID(), Instances: map[string]doctor.Instance{}, Networks: map[string]doctor.Network{}, Snapshots: map[string]doctor.Copy{}}
	placed, err := a.cloud.NodeWork(ctx, ask.Node, sf.KindInstance)
	if err != nil {
		return nil, err
	}
	networks, err := a.cloud.NodeWork(ctx, ask.Node, sf.KindNetwork)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, id := range append(ask.Instances, placed...) {
		errs = append(errs, found(known.Instances, id, func() (doctor.Instance, error) { return a.instance(ctx, id) }))
	}
	here := map[string]bool{}
	for _, id := range networks {
		here[id] = true
	}
	for _, id := range append(ask.Networks, networks...) {
		errs = append(errs, found(known.Networks, id, func() (doctor.Network, error) {
			n, err := a.cloud.Network(ctx, id)
			if err != nil {
				return doctor.Network{}, err
			}
			return doctor.Network{Name: n.Name, Namespace: n.Namespace, VNI: n.VNI, Here: here[id], Routed: n.NAT && n.Node == ask.Node}, nil
		}))
	}
	for _, id := range ask.Snapshots {
		errs = append(errs, found(known.Snapshots, id, func() (doctor.Copy, error) {
			s, err := a.cloud.SnapshotByID(ctx, id)
			if err != nil {
				return doctor.Copy{}, err
			}
			return doctor.Copy{Instance: s.Instance, Node: s.Node, Failed: s.Status.State == sf.StateError}, nil
		}))
	}
	return known, errors.Join(errs...)
}

// found adds what exists.
func found[T any](to map[string]T, id string, get func() (T, error)) error {
	value, err := get()
	switch {
	case errors.Is(err, sf.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	to[id] = value
	return nil
}

func (a *admin) instance(ctx context.Context, id string) (doctor.Instance, error) {
	i, err := a.cloud.Instance(ctx, id)
	if err != nil {
		return doctor.Instance{}, err
	}
	d := doctor.Instance{Name: i.Name, Namespace: i.Namespace, Node: i.Node, Gone: i.Deletion.Gone(), Deleting: i.Deletion != nil,
		Made: i.Status.State == sf.StateCreated && len(i.Status.Volumes) > 0}
	for _, port := range []int{i.Status.ConsolePort, i.Status.VDIPort} {
		if port != 0 && i.Status.Power == sf.PowerOn {
			d.Ports = append(d.Ports, port)
		}
	}
	return d, nil
}
