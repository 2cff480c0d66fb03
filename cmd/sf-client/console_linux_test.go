package main

import (
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
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

// The program itself colours on a terminal, unless it is told not to or cannot.
func TestColourOnTerminal(t *testing.T) {
	h := httptest.NewServer(&server{replies: replies})
	defer h.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		env     []string
		colours bool
	}{
		{[]string{"TERM=xterm", "NO_COLOR="}, true},
		{[]string{"TERM=xterm", "NO_COLOR=1"}, false},
		{[]string{"TERM=dumb", "NO_COLOR="}, false},
	} {
		user, program := openTerminal(t)
		cmd := exec.CommandContext(t.Context(), self, "instance", "list")
		cmd.Env = append(os.Environ(), append(tt.env, asClient+"=1", "SHAKENFIST_NAMESPACE=demo", "SHAKENFIST_KEY=k", "SHAKENFIST_API_URL="+h.URL)...)
		cmd.Stdout = program
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		program.Close()
		var text strings.Builder
		io.Copy(&text, user) // ends in an error when nobody has the other end
		if got := strings.Contains(text.String(), "\x1b[32m"); got != tt.colours || !strings.Contains(text.String(), i1) {
			t.Errorf("%v: colours %v:\n%s", tt.env, got, &text)
		}
	}
}
