package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// left checks that on the host there is exactly what these instances and this
// many networks need: processes, definitions, volumes, namespaces.
func (l *lab) left(t *testing.T, instances []string, networks int) {
	t.Helper()
	want := slices.Sorted(slices.Values(instances))
	for what, have := range map[string][]string{
		"QEMU processes": slices.Sorted(maps.Keys(l.machines())),
		"definitions":    entries(t, filepath.Join(l.dir, "data", "machines", "machines")),
		"volumes":        entries(t, filepath.Join(l.dir, "data", "instances")),
	} {
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", what, diff)
		}
	}
	if names := entries(t, filepath.Join(l.dir, "netns")); len(names) != networks {
		t.Errorf("network namespaces %v, want %d", names, networks)
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}
