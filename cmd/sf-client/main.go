// Command sf-client talks to a Shaken Fist cloud: instances, networks, namespaces.
//
// It takes the commands of the client of Shaken Fist 0.2 and prints what that
// printed, in three formats: --pretty for people, --simple for shell scripts,
// --json for programs. Run it with --help to see the commands.
//
// The exit status is 0 where the command did what it says, 1 where the cloud
// could not be reached or did not do it, and 2 where the command line is wrong.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	a := &app{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr,
		progress: onTerminal(os.Stderr),
		colour:   onTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "",
	}
	status := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// onTerminal reports whether somebody looks at a file on a terminal that can do more
// than print.
func onTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}
