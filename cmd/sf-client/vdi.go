package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/spf13/cobra"
)

func (a *app) vdi() *cobra.Command {
	c := &cobra.Command{
		Use:   "vdi INSTANCE",
		Short: "Open a port on this machine for viewers of an instance's screen",
		Long: `Open a port on this machine for viewers of an instance's screen.

Any VNC viewer can connect to it, several at a time, until the command is
interrupted. Whoever can reach the port can use the screen: it is on loopback
unless --listen says otherwise.`,
		Example: "  sf-client instance vdi vm1\n  sf-client instance vdi vm1 --listen 127.0.0.1:5901 & vncviewer 127.0.0.1::5901",
		Args:    exactly("INSTANCE"),
	}
	listen := c.Flags().String("listen", "127.0.0.1:0", "the address to listen on; port 0 is any that is free")
	return a.on(instanceNoun, c, func(ctx context.Context, cl *client.Client, args []string) error {
		screen, err := cl.Display(ctx, args[0]) // better now than when a viewer comes
		if err != nil {
			return err
		}
		screen.Close()
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
		if err != nil {
			return err
		}
		if err := a.sayWhere(l.Addr()); err != nil {
			l.Close()
			return err
		}
		return a.serveScreen(ctx, l, func() (io.ReadWriteCloser, error) { return cl.Display(ctx, args[0]) })
	})
}

// sayWhere tells what to connect to.
func (a *app) sayWhere(addr net.Addr) error {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return err
	}
	switch a.format {
	case asJSON:
		return a.printJSON(object{"address": addr.String()})
	case simple:
		_, err = fmt.Fprintln(a.out, addr)
		return err
	}
	_, err = fmt.Fprintf(a.out, "Connect a VNC viewer to %s, for example: vncviewer %s\nInterrupt this command when you are done.\n",
		addr, net.JoinHostPort(host, ":"+port))
	return err
}

// serveScreen gives every viewer a screen of its own until ctx is done. A viewer
// who can't have one is hung up on, and the reason said.
func (a *app) serveScreen(ctx context.Context, l net.Listener, open func() (io.ReadWriteCloser, error)) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex // of errOut
	for {
		viewer, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer viewer.Close()
			screen, err := open()
			if err == nil {
				err = join(ctx, viewer, screen)
			}
			if err != nil && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintln(a.errOut, a.complaint(err))
			}
		})
	}
}

// join moves bytes both ways between a viewer and a screen until either hangs up.
// The error is the screen's.
func join(ctx context.Context, viewer net.Conn, screen io.ReadWriteCloser) error {
	hangUp := func() {
		viewer.Close()
		screen.Close()
	}
	defer context.AfterFunc(ctx, hangUp)()
	var wg sync.WaitGroup
	var left atomic.Bool
	wg.Go(func() {
		io.Copy(screen, viewer) // ends when the viewer leaves, or is hung up on
		left.Store(true)
		screen.Close()
	})
	_, err := io.Copy(viewer, screen)
	if left.Load() {
		err = nil // it was the viewer who hung up
	}
	hangUp()
	wg.Wait()
	return err
}
