package libvirt_test

import (
	"testing"

	"github.com/shakenfist/cloud/driver/internal/netns"
	"github.com/shakenfist/cloud/driver/internal/tap"
)

// inNetNS runs f in a network namespace.
func inNetNS(t *testing.T, path string, f func() error) {
	t.Helper()
	if err := netns.Do(path, f); err != nil {
		t.Fatal(err)
	}
}

// makeTap makes a persistent tap in a namespace.
func makeTap(t *testing.T, ns, name string) {
	t.Helper()
	if err := tap.Make(ns, name); err != nil {
		t.Fatal(err)
	}
}
