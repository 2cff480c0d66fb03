package api

import (
	"os"
	"strings"
	"testing"
)

// TestParityOfRoutes checks that the page on parity has a row for each route.
func TestParityOfRoutes(t *testing.T) {
	text, err := os.ReadFile("../../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range routes() {
		row := "\n| `" + rt.method + " " + strings.TrimSuffix(rt.pattern, "{$}") + "` | "
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/parity.md has no row%s", row)
		}
	}
}
