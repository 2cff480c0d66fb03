package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openTerminal returns both ends of a terminal.
func openTerminal(t *testing.T) (user, program *os.File) {
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine has no terminals to give: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// On a real terminal keys go through as they are, Ctrl-] leaves, and the terminal
// is as it was before.
func TestConsoleOnTerminal(t *testing.T) {
	r := newReal(t)
	vm := r.uuid("--json", "instance", "create", "vm1", "1", "512", "-d", "8@cirros")
	user, program := openTerminal(t)
	before, err := term.GetState(int(program.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan struct{})
	said := &notice{when: "Ctrl-]", seen: connected}
	a, _, _ := testApp(r.url)
	a.in, a.out, a.errOut = program, program, said
	status := make(chan int)
	go func() { status <- a.run(sftest.Context(t), []string{"instance", "console", vm}) }()
	<-connected
	if _, err := user.Write([]byte("\x03ls\r\x1d")); err != nil {
		t.Fatal(err)
	}
	if s := <-status; s != 0 {
		t.Errorf("exit %d: %s", s, said.text.String())
	}
	after, err := term.GetState(int(program.Fd()))
	if err != nil || fmt.Sprint(*before) != fmt.Sprint(*after) {
		t.Errorf("the terminal was %v and is %v, %v", before, after, err)
	}
}

// notice tells when something has been said.
type notice struct {
	when string
	text strings.Builder
	seen chan struct{}
}

func (n *notice) Write(p []byte) (int, error) {
	n.text.Write(p)
	if n.seen != nil && strings.Contains(n.text.String(), n.when) {
		close(n.seen)
		n.seen = nil
	}
	return len(p), nil
}
