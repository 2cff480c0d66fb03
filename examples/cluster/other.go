//go:build !linux

// Command cluster makes a cloud of several machines on one, which has to run Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cluster: only Linux has the namespaces that its machines are made of")
	os.Exit(1)
}
