package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// escapeKey leaves an interactive console: Ctrl-].
const escapeKey = 0x1d

func (a *app) console() *cobra.Command {
	return a.on(instanceNoun, &cobra.Command{
		Use:   "console INSTANCE",
		Short: "Connect to an instance's serial console",
		Long: `Connect to an instance's serial console.

On a terminal every key goes to the instance, Ctrl-C too; Ctrl-] leaves. Otherwise
what comes on standard input is typed, and the command prints what the console
says until the instance stops or the command is interrupted.`,
		Example: "  sf-client instance console vm1\n  echo root | timeout 10 sf-client instance console vm1",
		Args:    exactly("INSTANCE"),
	}, func(ctx context.Context, c *client.Client, args []string) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		console, err := c.Console(ctx, args[0])
		if err != nil {
			return err
		}
		defer console.Close()
		in, out := fileOf(a.in), fileOf(a.out)
		if in == nil || out == nil || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
			return relay(console, a.in, a.out)
		}
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return fmt.Errorf("switch the terminal to raw mode: %w", err)
		}
		defer term.Restore(int(in.Fd()), before)
		fmt.Fprint(a.errOut, "Connected; press Ctrl-] to leave, Enter to see whether anybody is there.\r\n")
		err = relay(console, escapable{in}, out)
		fmt.Fprint(a.errOut, "\r\n")
		return err
	})
}

func fileOf(v any) *os.File {
	f, _ := v.(*os.File)
	return f
}

// errLeft ends a console from this side.
var errLeft = errors.New("left the console")

// relay moves bytes both ways until the console ends, or typing ends with errLeft.
// A reader of a terminal cannot be interrupted: it is left behind for the end of
// the process.
func relay(console io.ReadWriteCloser, in io.Reader, out io.Writer) error {
	left := make(chan struct{})
	go func() {
		if _, err := io.Copy(console, in); errors.Is(err, errLeft) {
			close(left)
			console.Close()
		}
	}()
	_, err := io.Copy(out, console)
	select {
	case <-left:
		return nil
	default:
		return err
	}
}

// escapable is typing that ends at the escape key.
type escapable struct{ from io.Reader }

func (e escapable) Read(p []byte) (int, error) {
	n, err := e.from.Read(p)
	if i := bytes.IndexByte(p[:n], escapeKey); i >= 0 {
		return i, errLeft
	}
	return n, err
}
