package main

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/shakenfist/cloud/sf/sftest/need"
)

// The demonstration runs from its begin to its end, and leaves nothing.
func TestDemo(t *testing.T) {
	need.Root(t)
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	t.Chdir("../..") // where make starts it
	d := demo{bin: t.TempDir()}
	if out, err := exec.Command("go", "build", "-o", d.bin+"/", "./cmd/sfd", "./cmd/sf-client").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a safety net
	defer cancel()
	if err := d.main(ctx, ""); err != nil {
		t.Fatal(err)
	}
}
