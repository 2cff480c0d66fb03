package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// images are the commands about the image cache.
func (a *app) images() *cobra.Command {
	return group("image", "The image cache of the node that is talked to (for the namespace system)",
		a.does(&cobra.Command{Use: "cache URL", Short: "Fetch an image ahead of its first use", Args: exactly("URL"),
			Example: "  sf-client image cache debian:12\n  sf-client image cache https://example.com/disk.qcow2"}, a.imageCache),
		a.does(&cobra.Command{Use: "list", Short: "List the images that are there, the last used first", Args: exactly(),
			Example: "  sf-client image list"}, a.imageList),
		a.on(imageNoun, &cobra.Command{Use: "show IMAGE", Short: "Show an image", Args: exactly("IMAGE"),
			Example: "  sf-client image show cirros"}, a.imageShow),
		a.on(imageNoun, &cobra.Command{Use: "delete IMAGE", Short: "Remove an image that no instance uses", Args: exactly("IMAGE"),
			Example: "  sf-client image delete cirros"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.done(c.DeleteImage(ctx, args[0]))
			}),
	)
}

func (a *app) imageCache(ctx context.Context, c *client.Client, args []string) error {
	if !a.progress {
		return a.done(c.CacheImage(ctx, args[0], nil))
	}
	line := &status{a: a}
	err := c.CacheImage(ctx, args[0], func(p client.Progress) { line.show(p.Stage + share(p.Done, p.Total)) })
	line.clear()
	return a.done(err)
}

func (a *app) imageList(ctx context.Context, c *client.Client, _ []string) error {
	images, err := c.Images(ctx)
	if err != nil {
		return err
	}
	l := &list{name: "images", json: [][]any{},
		columns: []string{"id", "names", "node", "format", "size", "virtual size", "used", "users"},
		fields:  []string{"id", "names", "node", "format", "size", "virtual_size", "used", "users", "cdrom"}} // the last in JSON only
	for _, i := range images {
		l.add(i.ID, strings.Join(i.Names, " "), i.Node, kindOf(i), i.Size, i.VirtualSize, a.local(i.Used), i.Users)
		l.json = append(l.json, []any{i.ID, i.Names, i.Node, i.Format, i.Size, i.VirtualSize, stamp(i.Used), i.Users, i.CDROM})
	}
	return a.print(l)
}

// kindOf is an image's format, or that it is a CD-ROM.
func kindOf(i *spec.CachedImage) string {
	if i.CDROM {
		return "cdrom"
	}
	return i.Format
}

func (a *app) imageShow(ctx context.Context, c *client.Client, args []string) error {
	i, err := c.Image(ctx, args[0])
	if err != nil {
		return err
	}
	if a.format == asJSON {
		return a.printJSON(object{"id": i.ID, "names": i.Names, "node": i.Node, "format": i.Format, "cdrom": i.CDROM,
			"size": i.Size, "virtual_size": i.VirtualSize, "used": stamp(i.Used), "users": i.Users})
	}
	layout := "%-12s: %s\n"
	if a.format == simple {
		layout = "%s:%s\n"
	}
	for _, f := range []field{{"id", i.ID}, {"names", strings.Join(i.Names, " ")}, {"node", i.Node}, {"format", i.Format}, {"cdrom", i.CDROM},
		{"size", i.Size}, {"virtual size", i.VirtualSize}, {"used", a.local(i.Used)}, {"users", i.Users}} {
		fmt.Fprintf(a.out, layout, f.name, show(f.value))
	}
	return nil
}
