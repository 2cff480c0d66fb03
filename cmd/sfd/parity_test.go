package main

import (
	"os"
	"strings"
	"testing"
)

// TestParityOfOptions checks that the page on parity has a row for each option.
func TestParityOfOptions(t *testing.T) {
	text, err := os.ReadFile("../../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range options {
		if o.env == "" {
			names = append(names, "--"+o.flag)
		} else {
			names = append(names, o.env)
		}
	}
	for name := range dead {
		names = append(names, name)
	}
	for _, name := range names {
		if row := "\n| `" + name + "` | "; !strings.Contains(string(text), row) {
			t.Errorf("docs/parity.md has no row%s", row)
		}
	}
}
