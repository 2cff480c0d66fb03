package qemu

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/sftest/need"
)

func TestVirtFlags(t *testing.T) {
	for text, want := range map[string]bool{
		"flags\t\t: fpu vme de vmx est":         true,
		"flags\t\t: fpu svm":                    true,
		"flags\t\t: fpu vmxx hypervisor":        false,
		"vmx flags\t: vnmi\nflags\t\t: fpu sse": false,
		"model name\t: svm\nflags\t\t: fpu":     false,
	} {
		if got := virtFlags.MatchString(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A device node does not make KVM: the processor's word counts, and the choice is
// explained.
func TestAccel(t *testing.T) {
	need.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	for accel, want := range map[string]string{"": "", "tcg": "tcg", "kvm": "kvm"} {
		h, err := New(t.Context(), Config{Dir: t.TempDir(), Accel: accel, Cgroup: "none"})
		if err != nil {
			t.Fatal(err)
		}
		info, err := h.Info(t.Context())
		if err != nil || info.AccelReason == "" || want != "" && info.Accel != want {
			t.Errorf("%q: %+v, %v", accel, info, err)
		}
		if accel == "" && !virtFlags.Match(cpu) && info.Accel != "tcg" {
			t.Errorf("%q without vmx or svm", info.Accel)
		}
		h.Close()
	}
	h, err := New(t.Context(), Config{Dir: t.TempDir(), Accel: "xen", Cgroup: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Info(t.Context()); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "auto, kvm, tcg") {
		t.Errorf("an unknown accelerator: %v", err)
	}
}

func TestNoQEMU(t *testing.T) {
	h, err := New(t.Context(), Config{Dir: t.TempDir(), Binary: "no-such-qemu"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "qemu-system-x86") {
		t.Errorf("without QEMU: %v", err)
	}
	if list, err := h.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list is %+v, %v", list, err)
	}
}
