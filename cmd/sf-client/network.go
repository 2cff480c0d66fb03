package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// networks are the commands about networks.
func (a *app) networks() *cobra.Command {
	return a.offers(group("network", "Virtual networks",
		a.does(&cobra.Command{Use: "list [ALL]", Short: "List networks; with ALL, deleted ones too", Args: optionally()}, a.networkList),
		a.does(&cobra.Command{Use: "show UUID", Short: "Show a network", Args: exactly("UUID")},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.networkShow(ctx, c, args[0])
			}),
		a.networkCreate(),
		a.networkDelete(),
		a.deletesAll(&cobra.Command{Use: "delete-all", Short: "Delete all networks of a namespace"},
			func(ctx context.Context, c *client.Client, namespace string) error {
				_, err := c.DeleteNetworks(ctx, namespace)
				return err
			}),
		a.events(spec.KindNetwork),
		a.does(&cobra.Command{Use: "instances UUID", Short: "List the instances on a network", Args: exactly("UUID")}, a.networkInstances),
		a.setMetadata(spec.KindNetwork, "UUID"),
		a.deleteMetadata(spec.KindNetwork, "UUID"),
	), func(ctx context.Context, c *client.Client) (ids []string, err error) {
		list, err := c.Networks(ctx, false)
		for _, item := range list {
			ids = append(ids, item.UUID+"\t"+item.Name)
		}
		return ids, err
	})
}

func (a *app) networkList(ctx context.Context, c *client.Client, args []string) error {
	all, err := truth(args, 0)
	if err != nil {
		return err
	}
	networks, err := c.Networks(ctx, all)
	if err != nil {
		return err
	}
	columns := []string{"uuid", "name", "namespace", "netblock"}
	l := &list{name: "networks", columns: columns, fields: columns}
	for _, n := range networks {
		l.add(n.UUID, orNone(n.Name), orNone(n.Namespace), n.Netblock)
	}
	return a.print(l)
}

// address is an address as it is printed.
func address(addr netip.Addr) any {
	if !addr.IsValid() {
		return nil
	}
	return addr.String()
}

func (a *app) networkShow(ctx context.Context, c *client.Client, id string) error {
	n, err := c.Network(ctx, id)
	if err != nil {
		return err
	}
	metadata, err := c.Metadata(ctx, spec.KindNetwork, n.UUID)
	if err != nil {
		return err
	}
	if a.format == asJSON {
		o := object{"uuid": n.UUID, "name": orNone(n.Name), "vxid": n.VNI, "netblock": n.Netblock, "provide_dhcp": n.DHCP,
			"provide_nat": n.NAT, "floating_gateway": address(n.Gateway), "namespace": orNone(n.Namespace), "metadata": metadata}
		return a.printJSON(withTrouble(o, n.Status.Error, n.Status.Wait))
	}
	layout := "%-16s: %s\n"
	if a.format == simple {
		layout = "%s:%s\n"
	}
	for _, f := range append([]field{
		{"uuid", n.UUID}, {"name", orNone(n.Name)}, {"vxlan id", n.VNI}, {"netblock", n.Netblock},
		{"provide dhcp", n.DHCP}, {"provide nat", n.NAT}, {"floating gateway", address(n.Gateway)},
		{"namespace", orNone(n.Namespace)}, {"state", n.Status.State},
	}, trouble(n.Status.Error, n.Status.Wait)...) {
		fmt.Fprintf(a.out, layout, f.name, show(f.value))
	}
	fmt.Fprintln(a.out)
	a.metadata(metadata)
	return nil
}

// metadata prints the metadata of an instance or a network.
func (a *app) metadata(m spec.Metadata) {
	if a.format == simple {
		a.metadataRows(m)
		return
	}
	fmt.Fprintln(a.out, "Metadata:")
	a.metadataLines(m, 8)
}

func (a *app) networkCreate() *cobra.Command {
	var s spec.NetworkSpec
	var async bool
	c := &cobra.Command{
		Use:     "create NETBLOCK NAME",
		Short:   "Create a network and wait until it is there",
		Example: "  sf-client network create 192.168.1.0/24 mynet\n  sf-client network create --no-nat 10.0.0.0/16 inside",
		Args:    exactly("NETBLOCK", "NAME"),
	}
	onOff(c.Flags(), &s.DHCP, "dhcp", true, "answer DHCP on the network")
	onOff(c.Flags(), &s.NAT, "nat", true, "let guests reach out")
	namespace := a.forNamespace(c)
	c.Flags().BoolVar(&async, "async", false, "do not wait")
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		s.Netblock, s.Name = args[0], args[1]
		n, err := a.waits(cl, async).CreateNetwork(ctx, *namespace, s)
		id, late := overdue(err)
		switch {
		case late:
			err = a.waitNetwork(ctx, cl, id, client.NetworkCreated)
		case err == nil && a.progress && !async:
			id, err = n.UUID, a.waitNetwork(ctx, cl, n.UUID, client.NetworkCreated)
		case err == nil:
			id = n.UUID
		}
		if err != nil {
			return err
		}
		return a.networkShow(ctx, cl, id)
	})
}

func (a *app) networkDelete() *cobra.Command {
	var async bool
	c := &cobra.Command{Use: "delete UUID", Short: "Delete a network and wait until it is gone", Args: exactly("UUID")}
	c.Flags().BoolVar(&async, "async", false, "do not wait")
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		err := a.waits(cl, async).DeleteNetwork(ctx, args[0])
		if _, late := overdue(err); late || err == nil && a.progress && !async {
			err = a.waitNetwork(ctx, cl, args[0], client.NetworkGone)
			if errors.Is(err, spec.ErrNotFound) { // forgotten already
				err = nil
			}
		}
		return a.done(err)
	})
}

func (a *app) networkInstances(ctx context.Context, c *client.Client, args []string) error {
	nics, err := c.NetworkInterfaces(ctx, args[0])
	if err != nil {
		return err
	}
	columns := []string{"instance_uuid", "ipv4", "floating"}
	l := &list{name: "instances", columns: columns, fields: columns}
	for _, n := range nics {
		l.add(n.Instance, address(n.Address), address(n.Floating))
	}
	return a.print(l)
}

// events lists what happened to an object.
func (a *app) events(kind spec.Kind) *cobra.Command {
	return a.does(&cobra.Command{Use: "events UUID", Short: "List what happened", Args: exactly("UUID")},
		func(ctx context.Context, c *client.Client, args []string) error {
			events, err := c.Events(ctx, kind, args[0])
			if err != nil {
				return err
			}
			l := &list{name: "events", json: [][]any{},
				columns: []string{"timestamp", "node", "operation", "phase", "duration", "message"},
				fields:  []string{"timestamp", "fqdn", "operation", "phase", "duration", "message"}}
			for _, e := range events {
				row := []any{stamp(e.Time), orNone(e.Node), orNone(e.Operation), orNone(e.Phase), nil, orNone(e.Message)}
				if e.Duration != 0 {
					row[4] = pyFloat(e.Duration.Seconds())
				}
				l.json = append(l.json, row)
				l.add(append([]any{a.local(e.Time)}, row[1:]...)...)
			}
			return a.print(l)
		})
}
