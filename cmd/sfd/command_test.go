package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestCommandHelp keeps what each command says of itself as text.
func TestCommandHelp(t *testing.T) {
	var got bytes.Buffer
	said := map[string]bool{"": true}
	for _, cmd := range commands() {
		word, _, _ := strings.Cut(cmd.name, " ")
		if cmd.does == "" || said[word] {
			continue
		}
		said[word] = true
		got.WriteString("$ sfd " + word + " --help\n")
		if status := Main(t.Context(), []string{word, "--help"}, nil, &got, &got); status != 0 {
			t.Errorf("sfd %s --help: %d", word, status)
		}
		got.WriteString("\n")
	}
	isGolden(t, "commands.txt", got.String())
}

// TestBadUsage holds that a wrong command line is status 2 and a sentence that says how it is right.
func TestBadUsage(t *testing.T) {
	for line, want := range map[string]string{
		"bakcup":                     `"bakcup" is no command, and options begin with -- (sfd --help lists both)`,
		"backup":                     "backup needs FILE: sfd backup FILE [options]",
		"backup --data-dir /x":       "backup needs FILE",
		"backup one two":             `unexpected argument "two": sfd backup FILE [options]`,
		"backup one --data-dir here": "want an absolute path",
		"restore one --nonsense":     "not defined: --nonsense",
		"import":                     "import needs the etcd of Shaken Fist 0.2: sfd import --from http://HOST:2379",
		"import --from x":            `invalid value "x" for`,
		"key":                        "key what? say sfd key list, or set, or delete",
		"key show":                   "key what?",
		"key set system":             "key set needs NAME: sfd key set NAMESPACE NAME [options]",
		"key list a b":               `unexpected argument "b"`,
		"backup one --secret-file x": "not defined: --secret-file",
		"--data-dir /x now":          `unexpected argument "now"`,
	} {
		var out, errs bytes.Buffer
		status := Main(t.Context(), strings.Fields(line), nil, &out, &errs)
		if status != 2 || !strings.Contains(errs.String(), want) || strings.Count(errs.String(), "\n") != 1 || out.Len() > 0 {
			t.Errorf("sfd %s: %d, %q%q, want a line with %q", line, status, out.String(), errs.String(), want)
		}
	}
}

// Options and arguments may come in any order.
func TestCommandOrder(t *testing.T) {
	for _, line := range []string{"backup /x/no --data-dir /x/y", "backup --data-dir /x/y /x/no", "backup --data-dir=/x/y -- /x/no"} {
		cmd, args, err := findCommand(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		c, given, err := parseCommand(cmd, args, nil)
		if err != nil || cmd.name != "backup" || c.dataDir != "/x/y" || len(given) != 1 || given[0] != "/x/no" {
			t.Errorf("%s: %+v, %q, %v", line, c, given, err)
		}
	}
}
