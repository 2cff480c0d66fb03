package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// namespaces are the commands about namespaces.
func (a *app) namespaces() *cobra.Command {
	return group("namespace", "Tenants and their keys (for the namespace system)",
		a.does(&cobra.Command{Use: "list", Short: "List namespaces", Args: exactly(), Example: "  sf-client namespace list"}, a.namespaceList),
		a.does(&cobra.Command{Use: "create NAMESPACE", Short: "Create a namespace", Args: exactly("NAMESPACE"), Example: "  sf-client namespace create demo"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return c.CreateNamespace(ctx, args[0])
			}),
		a.on(namespaceNoun, &cobra.Command{Use: "delete NAMESPACE", Short: "Delete a namespace without instances and networks", Args: exactly("NAMESPACE"),
			Example: "  sf-client namespace delete demo"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return c.DeleteNamespace(ctx, args[0])
			}),
		a.on(namespaceNoun, &cobra.Command{Use: "show NAMESPACE", Short: "Show a namespace's keys and metadata", Args: exactly("NAMESPACE"),
			Example: "  sf-client namespace show demo"}, a.namespaceShow),
		a.clean(),
		a.on(namespaceNoun, &cobra.Command{Use: "add-key NAMESPACE KEYNAME KEY", Short: "Add a key, or change the one of that name", Args: exactly("NAMESPACE", "KEYNAME", "KEY"),
			Example: "  sf-client namespace add-key demo deploy \"$(openssl rand -hex 16)\""},
			func(ctx context.Context, c *client.Client, args []string) error {
				return c.SetKey(ctx, args[0], args[1], args[2])
			}),
		a.on(namespaceNoun, &cobra.Command{Use: "delete-key NAMESPACE KEYNAME", Short: "Delete a key", Args: exactly("NAMESPACE", "KEYNAME"),
			Example: "  sf-client namespace delete-key demo deploy"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return c.DeleteKey(ctx, args[0], args[1])
			}),
		a.on(namespaceNoun, &cobra.Command{Use: "get-metadata NAMESPACE", Short: "Show a namespace's metadata", Args: exactly("NAMESPACE"),
			Example: "  sf-client --json namespace get-metadata demo"}, a.namespaceMetadata),
		a.setMetadata(namespaceNoun, spec.KindNamespace),
		a.deleteMetadata(namespaceNoun, spec.KindNamespace),
	)
}

func (a *app) namespaceList(ctx context.Context, c *client.Client, _ []string) error {
	names, err := c.Namespaces(ctx)
	if err != nil {
		return err
	}
	if a.format == asJSON { // on one line, unlike everything else
		quoted := make([]string, len(names))
		for i, name := range names {
			if quoted[i], err = pyJSON(name, ""); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(a.out, "["+strings.Join(quoted, ", ")+"]")
		return err
	}
	l := &list{columns: []string{"namespace"}}
	for _, name := range names {
		l.add(name)
	}
	return a.print(l)
}

var errNoNamespace = errors.New("namespace not found")

func (a *app) namespaceShow(ctx context.Context, c *client.Client, args []string) error {
	keys, err := c.Keys(ctx, args[0])
	if errors.Is(err, spec.ErrNotFound) {
		return errNoNamespace
	}
	if err != nil {
		return err
	}
	metadata, err := c.Metadata(ctx, spec.KindNamespace, args[0])
	if err != nil {
		return err
	}
	switch a.format {
	case asJSON:
		return a.printJSON(object{"key_names": keys, "metadata": metadata})
	case simple:
		fmt.Fprintln(a.out, "metadata,keyname")
		for _, k := range keys {
			fmt.Fprintf(a.out, "keyname,%s\n", k)
		}
		a.metadataRows(metadata)
		return nil
	}
	fmt.Fprintln(a.out, "Key Names:")
	for _, k := range keys {
		fmt.Fprintf(a.out, "    %s\n", k)
	}
	fmt.Fprintln(a.out, "Metadata:")
	longest := 0
	for k := range metadata {
		longest = max(longest, len(k))
	}
	a.metadataLines(metadata, longest)
	return nil
}

// metadataRows prints metadata in the simple format.
func (a *app) metadataRows(m spec.Metadata) {
	fmt.Fprintln(a.out, "metadata,key,value")
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(a.out, "metadata,%s,%s\n", k, show(m[k]))
	}
}

// metadataLines prints metadata for people, with the keys padded to a width.
func (a *app) metadataLines(m spec.Metadata, width int) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(a.out, "    %-*s: %s\n", width, k, show(m[k]))
	}
}

func (a *app) namespaceMetadata(ctx context.Context, c *client.Client, args []string) error {
	m, err := c.Metadata(ctx, spec.KindNamespace, args[0])
	if err != nil {
		return err
	}
	if a.format == asJSON {
		return a.printJSON(m)
	}
	layout := "%-12s: %s\n"
	if a.format == simple {
		layout = "%s:%s\n"
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(a.out, layout, k, show(m[k]))
	}
	return nil
}

// setMetadata is a command of every kind of object that has metadata.
func (a *app) setMetadata(n noun, kind spec.Kind) *cobra.Command {
	return a.on(n, &cobra.Command{Use: "set-metadata " + n.arg + " KEY VALUE", Short: "Set a metadata item", Args: exactly(n.arg, "KEY", "VALUE"),
		Example: "  sf-client " + string(kind) + " set-metadata " + n.arg + " owner alice"},
		func(ctx context.Context, c *client.Client, args []string) error {
			return a.done(c.SetMetadata(ctx, kind, args[0], args[1], args[2]))
		})
}

func (a *app) deleteMetadata(n noun, kind spec.Kind) *cobra.Command {
	return a.on(n, &cobra.Command{Use: "delete-metadata " + n.arg + " KEY", Short: "Delete a metadata item", Args: exactly(n.arg, "KEY"),
		Example: "  sf-client " + string(kind) + " delete-metadata " + n.arg + " owner"},
		func(ctx context.Context, c *client.Client, args []string) error {
			return a.done(c.DeleteMetadata(ctx, kind, args[0], args[1]))
		})
}

// clean deletes what a namespace has, but not the namespace.
func (a *app) clean() *cobra.Command {
	return a.deletesAll(&cobra.Command{Use: "clean", Short: "Delete all instances and then all networks of a namespace",
		Example: "  sf-client namespace clean --confirm --namespace demo"},
		func(ctx context.Context, c *client.Client, namespace string) error {
			if _, err := c.DeleteInstances(ctx, namespace); err != nil {
				return err
			}
			_, err := c.DeleteNetworks(ctx, namespace)
			return err
		})
}

// deletesAll gives a command that deletes everything of a namespace its options.
func (a *app) deletesAll(c *cobra.Command, do func(ctx context.Context, c *client.Client, namespace string) error) *cobra.Command {
	confirm := c.Flags().Bool("confirm", false, "yes, delete them all")
	c.Args = exactly()
	namespace := a.forNamespace(c)
	return a.does(c, func(ctx context.Context, cl *client.Client, _ []string) error {
		if !*confirm {
			fmt.Fprintln(a.out, "You must be sure. Use option --confirm.")
			return usage("nothing was deleted")
		}
		return do(ctx, cl, *namespace)
	})
}

// forNamespace defines the option that lets system act on another namespace. It
// hides the global option of the same name for this command, as in the seed:
// before the command --namespace says who you are, after it whom this is for.
func (a *app) forNamespace(c *cobra.Command) *string {
	namespace := c.Flags().String("namespace", "", "the namespace this is for, when you are system (after the command)")
	c.RegisterFlagCompletionFunc("namespace", a.completeOption(namespaceNoun))
	return namespace
}
