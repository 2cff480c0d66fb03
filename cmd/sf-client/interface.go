package main

import (
	"context"
	"fmt"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/spf13/cobra"
)

// interfaces are the commands about network interfaces.
func (a *app) interfaces() *cobra.Command {
	return group("interface", "Network interfaces of instances",
		a.does(&cobra.Command{Use: "show UUID", Short: "Show a network interface", Args: exactly("UUID")}, a.interfaceShow))
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
