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
	return group("network", "Virtual networks",
		a.does(&cobra.Command{Use: "list [ALL]", Short: "List networks; with ALL, deleted ones too", Args: optionally(),
			Example: "  sf-client network list\n  sf-client --simple network list true"}, a.networkList),
		a.on(networkNoun, &cobra.Command{Use: "show NETWORK", Short: "Show a network", Args: exactly("NETWORK"),
			Example: "  sf-client network show mynet"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.networkShow(ctx, c, args[0])
			}),
		a.networkCreate(),
		a.networkDelete(),
		a.deletesAll(&cobra.Command{Use: "delete-all", Short: "Delete all networks of a namespace",
			Example: "  sf-client network delete-all --confirm\n  sf-client network delete-all --confirm --namespace demo"},
			func(ctx context.Context, c *client.Client, namespace string) error {
				_, err := c.DeleteNetworks(ctx, namespace)
				return err
			}),
		a.events(networkNoun, spec.KindNetwork),
		a.on(networkNoun, &cobra.Command{Use: "instances NETWORK", Short: "List the instances on a network", Args: exactly("NETWORK"),
			Example: "  sf-client network instances mynet"}, a.networkInstances),
		a.setMetadata(networkNoun, spec.KindNetwork),
		a.deleteMetadata(networkNoun, spec.KindNetwork),
	)
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
		fmt.Fprintf(a.out, layout, f.name, a.paintState(f.name, show(f.value)))
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
	c := &cobra.Command{
		Use:     "create NETBLOCK NAME",
		Short:   "Create a network and wait until it is there",
		Example: "  sf-client network create 192.168.1.0/24 mynet\n  sf-client network create --no-nat 10.0.0.0/16 inside",
		Args:    exactly("NETBLOCK", "NAME"),
	}
	onOff(c.Flags(), &s.DHCP, "dhcp", true, "answer DHCP on the network")
	onOff(c.Flags(), &s.NAT, "nat", true, "let guests reach out")
	once(c, &s.IdempotencyKey)
	namespace := a.forNamespace(c)
	p := a.patient(c)
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		s.Netblock, s.Name = args[0], args[1]
		n, err := p.client(cl).CreateNetwork(ctx, *namespace, s)
		id, late := overdue(err)
		if !late {
			id = n.UUID
		}
		if err := p.settle(err, func() error { return a.waitNetwork(ctx, cl, id, client.NetworkCreated) }); err != nil {
			return err
		}
		return a.networkShow(ctx, cl, id)
	})
}

func (a *app) networkDelete() *cobra.Command {
	c := &cobra.Command{Use: "delete NETWORK", Short: "Delete a network and wait until it is gone", Args: exactly("NETWORK"),
		Example: "  sf-client network delete mynet"}
	p := a.patient(c)
	return a.on(networkNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		err := p.client(cl).DeleteNetwork(ctx, args[0])
		return a.done(p.settle(err, func() error {
			err := a.waitNetwork(ctx, cl, args[0], client.NetworkGone)
			if errors.Is(err, spec.ErrNotFound) { // forgotten already
				return nil
			}
			return err
		}))
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
