package main

import (
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// asClient makes this program the command line instead of its tests.
const asClient = "TEST_IS_SF_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(asClient) != "" {
		main()
	}
	os.Exit(m.Run())
}

// The scripts load what sf-client generates for a shell, as its users do, and print the
// words that the shell then offers for each of their arguments, below it.
const (
	inBash = `
source /usr/share/bash-completion/bash_completion
source <(sf-client completion bash)
compopt() { :; }
for line; do
	echo "> $line"
	COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
	COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	[[ $line == *' ' ]] && COMP_WORDS+=('') COMP_CWORD=$((COMP_CWORD + 1))
	__start_sf-client
	printf '%s\n' "${COMPREPLY[@]}"
done`

	inZsh = `
compdef() { }
_describe() { print -rl -- ${(M)${(@P)${@[-1]}}:#${words[CURRENT]}*} } # name:description
source <(sf-client completion zsh)
for line; do
	print -r -- "> $line"
	words=(${=line}) CURRENT=$#words
	[[ $line == *' ' ]] && words+=('') CURRENT=$((CURRENT + 1))
	_sf-client
done`

	inFish = `
sf-client completion fish | source
for line in $argv
	echo "> $line"
	complete -C $line
end`
)

// Real shells complete commands, options, names and UUIDs.
func TestShellsComplete(t *testing.T) {
	for _, shell := range []struct {
		name, path, script string
		args               []string
	}{
		{"bash", need.Program(t, "bash", "bash"), inBash, []string{"--norc", "-c", inBash, "bash"}},
		{"zsh", need.Program(t, "zsh", "zsh"), inZsh, []string{"-f", "-c", inZsh, "zsh"}},
		{"fish", need.Program(t, "fish", "fish"), inFish, []string{"--no-config", "-c", inFish}},
	} {
		t.Run(shell.name, func(t *testing.T) {
			t.Parallel()
			if shell.name == "bash" {
				need.File(t, "/usr/share/bash-completion/bash_completion", "Debian package bash-completion")
			}
			completes(t, shell.path, shell.args)
		})
	}
}

func completes(t *testing.T, shell string, args []string) {
	h := httptest.NewServer(&server{replies: replies})
	defer h.Close()
	env := append(os.Environ(), asClient+"=1", "SHAKENFIST_NAMESPACE=demo", "SHAKENFIST_KEY=k", "SHAKENFIST_API_URL="+h.URL, "HOME="+t.TempDir())
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "sf-client")); err != nil {
		t.Fatal(err)
	}
	env = append(env, "PATH="+bin+":"+os.Getenv("PATH"))
	lines := map[string][]string{
		"sf-client inst":                               {"instance"},
		"sf-client instance reb":                       {"reboot"},
		"sf-client instance show ":                     {"vm1", "vm2"},
		"sf-client instance show 111":                  {i1},
		"sf-client instance show vm1 ":                 nil,
		"sf-client network delete my":                  {"mynet"},
		"sf-client network delete ":                    {n2, n3, "mynet"},
		"sf-client interface float vm1/":               {"vm1/0"},
		"sf-client namespace show s":                   {"system"},
		"sf-client node cordon sf-":                    {"sf-1", "sf-2"},
		"sf-client events net":                         {"network"},
		"sf-client events node sf-2":                   {"sf-2"},
		"sf-client instance create --placement sf-1":   {"sf-1"},
		"sf-client instance create a 1 1 --networkspe": {"--networkspec"},
		"sf-client instance wait vm1 --for lo":         {"login"},
	}
	cmd := exec.CommandContext(t.Context(), shell, append(slices.Clone(args), slices.Sorted(maps.Keys(lines))...)...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	offered, line := map[string][]string{}, ""
	for text := range strings.Lines(string(out)) {
		text = strings.TrimSuffix(text, "\n")
		if next, ok := strings.CutPrefix(text, "> "); ok {
			line = next
			offered[line] = nil
			continue
		}
		if word := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t:", r) }); len(word) > 0 {
			offered[line] = append(offered[line], word[0])
		}
	}
	for line := range offered {
		slices.Sort(offered[line])
	}
	if d := cmp.Diff(lines, offered); d != "" {
		t.Errorf("(-want +offered):\n%s\n%s", d, out)
	}
}
