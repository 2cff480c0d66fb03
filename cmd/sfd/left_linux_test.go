package main

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// left checks that on the host there is exactly what these instances and this
// many networks and ports need: processes, definitions, volumes, namespaces, taps.
func (l *lab) left(t testing.TB, instances []string, networks, ports int) {
	t.Helper()
	want := slices.Sorted(slices.Values(instances))
	for what, have := range map[string][]string{
		"QEMU processes": slices.Sorted(maps.Keys(l.machines())),
		"definitions":    l.definitions(t),
		"volumes":        entries(t, filepath.Join(l.dir, "data", "instances")),
	} {
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", what, diff)
		}
	}
	names := entries(t, filepath.Join(l.dir, "netns"))
	if len(names) != networks {
		t.Errorf("network namespaces %v, want %d", names, networks)
	}
	var taps []string
	for _, name := range names {
		taps = append(taps, tapsIn(t, filepath.Join(l.dir, "netns", name))...)
	}
	if len(taps) != ports {
		t.Errorf("taps %v, want %d", taps, ports)
	}
}

// definitions are the machines that the driver has files of.
func (l *lab) definitions(t testing.TB) (ids []string) {
	t.Helper()
	if l.virt == nil {
		return entries(t, filepath.Join(l.dir, "data", "machines", "machines"))
	}
	for _, name := range entries(t, filepath.Join(l.dir, "data", "libvirt")) {
		if id, ok := strings.CutSuffix(name, ".json"); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func tapsIn(t testing.TB, namespace string) (taps []string) {
	t.Helper()
	ns, err := os.Open(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = in(ns, func() error {
		devices, err := net.Interfaces()
		for _, d := range devices {
			if strings.HasPrefix(d.Name, "t") {
				taps = append(taps, d.Name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return taps
}

func entries(t testing.TB, dir string) []string {
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
