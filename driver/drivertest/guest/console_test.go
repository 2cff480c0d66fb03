package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// pretend answers like a guest: a login prompt, then for every command line what
// script says; it echoes until it is told not to, and ends lines as terminals do.
func pretend(t *testing.T, script map[string]string) *Console {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		fmt.Fprint(theirs, "sfguest: ready\r\nsfguest: dhcp eth0 event=bound address=10.0.0.5 mtu=none\r\n\r\nweb.local login: ")
		var command string
		for lines := bufio.NewScanner(theirs); lines.Scan(); {
			line := lines.Text()
			switch {
			case strings.HasPrefix(line, "stty -echo"):
				fmt.Fprintf(theirs, "%s\r\nsfguest-attached-%s\r\n", line, line[strings.LastIndexByte(line, ' ')+1:])
			case strings.HasPrefix(line, "} "):
				var n int
				fmt.Sscanf(line[strings.LastIndex(line, "' ")+2:], "%d", &n)
				fmt.Fprintf(theirs, "%s\r\nsfguest-done-%d %d\r\n", script[command], n, len(script[command]))
			case line != "" && line != "{":
				command = line
			}
		}
	}()
	return NewConsole(ours)
}

func TestConsole(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := pretend(t, map[string]string{"id": "root\r\n", "false": ""})
	report, err := c.Report(ctx, "dhcp eth0")
	if err != nil || report["address"] != "10.0.0.5" || report["mtu"] != "none" {
		t.Errorf("report %v, %v", report, err)
	}
	if err := c.Login(ctx); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		command, output string
		status          int
	}{{"id", "root\n", 6}, {"false", "", 0}} {
		output, status, err := c.Run(ctx, test.command)
		if err != nil || output != test.output || status != test.status {
			t.Errorf("%s: %q, %d, %v", test.command, output, status, err)
		}
	}
	if !strings.HasPrefix(c.Transcript(), "sfguest: ready\nsfguest: dhcp") {
		t.Errorf("transcript %q", c.Transcript())
	}
}

func TestConsoleErrorsShowTheGuest(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := pretend(t, nil)
	if _, err := c.Line(ctx, "sfguest: dhcp"); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err := c.Expect(ctx, "no such text")
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "sfguest: ready") {
		t.Errorf("after cancel: %v", err)
	}

	ended := NewConsole(struct {
		io.Reader
		io.Writer
	}{strings.NewReader("panic: oh\n"), io.Discard})
	_, err = ended.Expect(context.Background(), "login:")
	if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "panic: oh") {
		t.Errorf("after the end: %v", err)
	}
}
