package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
// format in which it succeeds, and one in which it does not.
func TestEveryCommandHasSessions(t *testing.T) {
	succeeds, fails := sessionsByCommand(t)
	a, _, _ := testApp("http://x")
	n := 0
	walk(a.root(), func(path string, _ *cobra.Command) {
		n++
		if streams[path] != "" {
			return
		}
		for _, format := range []string{"--pretty", "--simple", "--json"} {
			if !succeeds[format+" "+path] {
				t.Errorf("no session in which sf-client %s %s succeeds", format, path)
			}
		}
		if !fails[path] {
			t.Errorf("no session in which sf-client %s fails", path)
		}
	})
	if n < 39 { // the seed's
		t.Errorf("only %d commands", n)
	}
}

// sessionsByCommand reads which commands succeed in the sessions, by format, and which
// fail.
func sessionsByCommand(t *testing.T) (succeeds, fails map[string]bool) {
	succeeds, fails = map[string]bool{}, map[string]bool{}
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split("\n"+string(text), "\n$ sf-client ")[1:] {
			line, outcome, _ := strings.Cut(part, "\n")
			format, args := "--pretty", words(line)
			for strings.HasPrefix(args[0], "--") {
				if args[0] == "--simple" || args[0] == "--json" {
					format = args[0]
				}
				args = args[1:]
			}
			a, _, _ := testApp("http://x")
			c, _, err := a.root().Find(args)
			if err != nil || strings.HasSuffix(line, "--help") {
				continue
			}
			path := strings.TrimPrefix(c.CommandPath(), "sf-client ")
			if strings.Contains("\n"+outcome, "\n[exit ") {
				fails[path] = true
			} else {
				succeeds[format+" "+path] = true
			}
		}
	}
	return succeeds, fails
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
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s: --%s: %q is no description", path, f.Name, f.Usage)
			}
		})
	})
}

// TestParityOfCommands checks that the page on parity has a row for each command.
func TestParityOfCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	a, _, _ := testApp("http://x")
	walk(a.root(), func(path string, _ *cobra.Command) {
		if row := "\n| `" + path + "` | "; !strings.Contains(string(text), row) {
			t.Errorf("docs/parity.md has no row%s", row)
		}
	})
}
