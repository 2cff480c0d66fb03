package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// walk visits every command that does something.
func walk(c *cobra.Command, visit func(path string, c *cobra.Command)) {
	if below := c.Commands(); len(below) > 0 {
		for _, b := range below {
			walk(b, visit)
		}
		return
	}
	visit(strings.TrimPrefix(c.CommandPath(), "sf-client "), c)
}

// The commands that have tests of their own, for they print what others send.
var streams = map[string]string{
	"instance console": "TestConsolePipe, TestConsoleOnTerminal",
	"instance vdi":     "TestScreen",
}

// TestEveryCommandHasSessions checks that there is a session of every command in every
// format, and that no session is of a command that is not there.
func TestEveryCommandHasSessions(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			rest, ok := strings.CutPrefix(line, "$ sf-client ")
			if !ok {
				continue
			}
			format := "--pretty"
			w := strings.Fields(rest)
			for strings.HasPrefix(w[0], "--") {
				format, w = w[0], w[1:]
			}
			if len(w) > 1 {
				seen[format+" "+w[0]+" "+w[1]] = true
			}
		}
	}
	a, _, _ := testApp("http://x")
	n := 0
	walk(a.root(), func(path string, _ *cobra.Command) {
		n++
		for _, format := range []string{"--pretty", "--simple", "--json"} {
			if streams[path] == "" && !seen[format+" "+path] {
				t.Errorf("no session of sf-client %s %s", format, path)
			}
		}
	})
	if n < 39 { // the seed's
		t.Errorf("only %d commands", n)
	}
}

// TestEveryCommandHasHelp checks that every command tells what it does and gives an
// example that begins with itself and that it would understand.
func TestEveryCommandHasHelp(t *testing.T) {
	a, _, _ := testApp("http://x")
	walk(a.root(), func(path string, c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: %q is no description", path, c.Short)
		}
		found := false
		for line := range strings.Lines(c.Example) {
			found = found || strings.Contains(line, "sf-client") && strings.Contains(line, path)
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q is not indented by two", path, line)
			}
		}
		if !found {
			t.Errorf("%s has no example", path)
		}
	})
}
