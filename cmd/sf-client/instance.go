package main

import (
	"context"
	"errors"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// instances are the commands about instances.
func (a *app) instances() *cobra.Command {
	return group("instance", "Virtual machines",
		a.does(&cobra.Command{Use: "list [ALL]", Short: "List instances; with ALL, deleted ones and those in error too", Args: optionally(),
			Example: "  sf-client instance list\n  sf-client --simple instance list true"}, a.instanceList),
		a.on(instanceNoun, &cobra.Command{Use: "show INSTANCE [SNAPSHOTS]", Short: "Show an instance; with SNAPSHOTS, its snapshots too", Args: optionally("INSTANCE"),
			Example: "  sf-client instance show vm1\n  sf-client --json instance show vm1 true"},
			func(ctx context.Context, c *client.Client, args []string) error {
				snapshots, err := truth(args, 1)
				if err != nil {
					return err
				}
				return a.instanceShow(ctx, c, args[0], snapshots)
			}),
		a.instanceCreate(),
		a.instanceDelete(),
		a.deletesAll(&cobra.Command{Use: "delete-all", Short: "Delete all instances of a namespace",
			Example: "  sf-client instance delete-all --confirm\n  sf-client instance delete-all --confirm --namespace demo"},
			func(ctx context.Context, c *client.Client, namespace string) error {
				_, err := c.DeleteInstances(ctx, namespace)
				return err
			}),
		a.events(instanceNoun, spec.KindInstance),
		a.setMetadata(instanceNoun, spec.KindInstance),
		a.deleteMetadata(instanceNoun, spec.KindInstance),
		a.power("poweron", "Start an instance", spec.PowerOn),
		a.power("poweroff", "Stop an instance at once, like pulling the plug", spec.PowerOff),
		a.power("pause", "Stop an instance's processors", spec.PowerPaused),
		a.unpause(),
		a.reboot(),
		a.snapshot(),
		a.operations(),
		a.recovers(),
		a.consoleData(),
		a.console(),
		a.vdi(),
		a.wait(),
	)
}

func (a *app) instanceList(ctx context.Context, c *client.Client, args []string) error {
	all, err := truth(args, 0)
	if err != nil {
		return err
	}
	instances, err := c.Instances(ctx, all)
	if err != nil {
		return err
	}
	l := &list{name: "instances",
		columns: []string{"uuid", "name", "namespace", "cpus", "memory", "hypervisor", "power state", "state"},
		fields:  []string{"uuid", "name", "namespace", "cpus", "memory", "node", "power_state", "state"}}
	for _, i := range instances {
		power := i.Status.Power
		if power == "" {
			power = "unknown"
		}
		l.add(i.UUID, i.Name, i.Namespace, i.CPUs, i.MemoryMiB, orNone(i.Node), power, i.Status.State)
	}
	return a.print(l)
}

func (a *app) instanceDelete() *cobra.Command {
	c := &cobra.Command{Use: "delete INSTANCE", Short: "Delete an instance and wait until it is gone", Args: exactly("INSTANCE"),
		Example: "  sf-client instance delete vm1\n  sf-client instance delete vm1 --timeout 1m"}
	p := a.patient(c)
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		err := p.client(cl).DeleteInstance(ctx, args[0])
		return a.done(p.settle(err, func() error { return a.gone(ctx, cl, args[0]) }))
	})
}

// gone waits until an instance is deleted; one that is forgotten is.
func (a *app) gone(ctx context.Context, c *client.Client, id string) error {
	err := a.waitInstance(ctx, c, id, client.InstanceGone)
	if errors.Is(err, spec.ErrNotFound) {
		return nil
	}
	return err
}

// power is a command that wishes for a power state and waits until it is so.
func (a *app) power(name, short string, want spec.PowerState) *cobra.Command {
	return a.powers(name, short, func(ctx context.Context, c *client.Client, id string) (*spec.Instance, error) {
		return c.SetPower(ctx, id, want)
	})
}

func (a *app) unpause() *cobra.Command {
	return a.powers("unpause", "Let a paused instance go on", func(ctx context.Context, c *client.Client, id string) (*spec.Instance, error) {
		return c.Unpause(ctx, id)
	})
}

func (a *app) powers(name, short string, wish func(context.Context, *client.Client, string) (*spec.Instance, error)) *cobra.Command {
	c := &cobra.Command{Use: name + " INSTANCE", Short: short, Args: exactly("INSTANCE"), Example: "  sf-client instance " + name + " vm1"}
	p := a.patient(c)
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		i, err := wish(ctx, p.client(cl), args[0])
		if err == nil && p.ours() {
			err = a.waitInstance(ctx, cl, i.UUID, client.PowerSettled(i.Power.Generation))
		}
		return a.done(err)
	})
}
