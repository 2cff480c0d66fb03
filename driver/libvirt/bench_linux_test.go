package libvirt_test

import (
	"context"
	"os"
	"testing"

	"github.com/shakenfist/cloud/driver/drivertest/pc"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/libvirt/libvirttest"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

// BenchmarkLibvirt pauses and resumes a machine by the driver, and by two calls of
// virsh, as by hand.
func BenchmarkLibvirt(b *testing.B) {
	virsh := need.Program(b, "virsh", "libvirt-clients")
	virt := libvirttest.Start(b)
	dir, err := os.MkdirTemp(virt.Dir, "host")
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	check(err)
	check(os.Chmod(dir, 0o711))
	h, err := libvirt.New(b.Context(), config(virt, dir))
	check(err)
	b.Cleanup(func() { h.Close() })
	s := pc.Spec(dir, 1)
	check(os.WriteFile(s.Disks[0].Path, make([]byte, 1<<20), 0o600))
	check(h.Create(b.Context(), s))
	check(h.Start(b.Context(), s.ID))
	b.Cleanup(func() { h.Destroy(context.Background(), s.ID) })
	b.Run("Pause", func(b *testing.B) {
		for b.Loop() {
			check(h.Pause(b.Context(), s.ID))
			check(h.Resume(b.Context(), s.ID))
		}
	})
	b.Run("PauseVirsh", func(b *testing.B) {
		for b.Loop() {
			for _, verb := range []string{"suspend", "resume"} {
				cmd := virt.Command(virsh, "-q", "-c", "qemu:///system?socket="+virt.Socket, verb, s.ID)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("virsh %s: %v: %s", verb, err, out)
				}
			}
		}
	})
}
