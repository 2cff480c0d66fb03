package main

import (
	"context"
	"fmt"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/spf13/cobra"
)

// interfaces are the commands about network interfaces.
func (a *app) interfaces() *cobra.Command {
	return group("interface", "Network interfaces of instances, by UUID or INSTANCE/N for the one of order N",
		a.on(interfaceNoun, &cobra.Command{Use: "show INTERFACE", Short: "Show a network interface", Args: exactly("INTERFACE"),
			Example: "  sf-client interface show vm1/0"}, a.interfaceShow),
		a.on(interfaceNoun, &cobra.Command{Use: "float INTERFACE", Short: "Give a network interface a floating address, by which it is reached from outside",
			Args: exactly("INTERFACE"), Example: "  sf-client interface float vm1/0 && sf-client interface show vm1/0"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.done(c.Float(ctx, args[0]))
			}),
		a.on(interfaceNoun, &cobra.Command{Use: "defloat INTERFACE", Short: "Take a network interface's floating address back", Args: exactly("INTERFACE"),
			Example: "  sf-client interface defloat vm1/0"},
			func(ctx context.Context, c *client.Client, args []string) error {
				return a.done(c.Defloat(ctx, args[0]))
			}))
}

func (a *app) interfaceShow(ctx context.Context, c *client.Client, args []string) error {
	n, err := c.Interface(ctx, args[0])
	if err != nil {
		return err
	}
	switch a.format {
	case asJSON:
		return a.printJSON(object{"network_interfaces": []object{nicObject(n)}})
	case simple:
		fmt.Fprintf(a.out, "iface,interface uuid,network uuid,macaddr,order,ipv4,floating,model\n%s\n", nicRow(n))
		return nil
	}
	fmt.Fprintln(a.out, "Interface:")
	a.nicLines(n)
	return nil
}
