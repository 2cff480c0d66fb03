package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// noun is a sort of object that commands take as their first argument.
type noun struct {
	arg  string // what usages call it
	is   string // what it may be
	find func(ctx context.Context, c *client.Client, called string) (id string, err error)
	// list returns what a shell can offer.
	list func(ctx context.Context, c *client.Client) ([]known, error)
}

// called is the identity of the object that is called something.
func (n noun) called(ctx context.Context, c *client.Client, called string) (string, error) {
	if called == "" {
		return "", usage("%s is empty: give %s", n.arg, n.is)
	}
	if n.find == nil {
		return called, nil
	}
	return n.find(ctx, c, called)
}

// known is one object that a shell can offer.
type known struct {
	id   string
	name string // by which it can be called too, if it is the only one with it; else empty
	note string // shown besides its ID
}

var instanceNoun = noun{
	arg: "INSTANCE", is: "a UUID or a name",
	find: func(ctx context.Context, c *client.Client, called string) (string, error) {
		return c.FindInstance(ctx, "", called)
	},
	list: func(ctx context.Context, c *client.Client) (out []known, err error) {
		list, err := c.Instances(ctx, false)
		for _, i := range list {
			out = append(out, known{i.UUID, i.Name, i.Name})
		}
		return out, err
	},
}

var networkNoun = noun{
	arg: "NETWORK", is: "a UUID or a name",
	find: func(ctx context.Context, c *client.Client, called string) (string, error) {
		return c.FindNetwork(ctx, "", called)
	},
	list: func(ctx context.Context, c *client.Client) (out []known, err error) {
		list, err := c.Networks(ctx, false)
		for _, n := range list {
			out = append(out, known{n.UUID, n.Name, n.Name})
		}
		return out, err
	},
}

var interfaceNoun = noun{
	arg: "INTERFACE", is: "a UUID, or INSTANCE/N for the one of order N of an instance",
	find: func(ctx context.Context, c *client.Client, called string) (string, error) {
		return c.FindInterface(ctx, called)
	},
	list: interfacesOf,
}

// interfacesOf lists the interfaces of all networks.
func interfacesOf(ctx context.Context, c *client.Client) (out []known, err error) {
	names := map[string]string{}
	instances, err := c.Instances(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		names[i.UUID] = i.Name
	}
	networks, err := c.Networks(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		nics, err := c.NetworkInterfaces(ctx, n.UUID)
		if errors.Is(err, spec.ErrNotFound) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, nic := range nics {
			k := known{id: nic.UUID, note: nic.Address.String() + " on " + n.Name}
			if name := names[nic.Instance]; name != "" {
				k.name = name + "/" + strconv.Itoa(nic.Order)
			}
			out = append(out, k)
		}
	}
	return out, nil
}

var snapshotNoun = noun{
	arg: "SNAPSHOT", is: "a UUID",
	find: func(_ context.Context, _ *client.Client, called string) (string, error) {
		if id := strings.ToLower(called); spec.ValidUUID(id) {
			return id, nil
		}
		return "", usage("%q is not the UUID of a snapshot; they have no names", called)
	},
	list: func(ctx context.Context, c *client.Client) (out []known, err error) {
		list, err := c.Snapshots(ctx)
		for _, s := range list {
			out = append(out, known{id: s.UUID, note: s.Created.Format(time.DateTime) + " of " + s.Instance})
		}
		return out, err
	},
}

var imageNoun = noun{
	arg: "IMAGE", is: "an ID or a name",
	find: func(ctx context.Context, c *client.Client, called string) (string, error) {
		return c.FindImage(ctx, called)
	},
	list: func(ctx context.Context, c *client.Client) (out []known, err error) {
		list, err := c.Images(ctx)
		for _, i := range list {
			names := strings.Join(i.Names, " ")
			out = append(out, known{id: i.ID, note: names})
			for _, name := range i.Names {
				out = append(out, known{id: i.ID, name: name})
			}
		}
		return out, err
	},
}

var namespaceNoun = noun{
	arg: "NAMESPACE", is: "the name of one",
	list: func(ctx context.Context, c *client.Client) (out []known, err error) {
		names, err := c.Namespaces(ctx)
		for _, name := range names {
			out = append(out, known{id: name})
		}
		return out, err
	},
}

var nodeNoun = noun{
	arg: "NODE", is: "the name of one",
	list: func(ctx context.Context, c *client.Client) (out []known, err error) {
		nodes, err := c.Nodes(ctx)
		for _, n := range nodes {
			out = append(out, known{id: n.Name, note: n.Address})
		}
		return out, err
	},
}

// kinds are the sorts of objects to which something happens.
var kinds = map[string]noun{
	"instance": instanceNoun, "network": networkNoun, "interface": interfaceNoun,
	"snapshot": snapshotNoun, "namespace": namespaceNoun, "node": nodeNoun,
}

func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }
