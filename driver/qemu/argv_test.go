package qemu

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const testID = "0b7f0e9c-61b4-4b0e-a9a5-2f6f0b9d1c11"

// plain is a launch of the smallest machine; change is what a test is about.
func plain(change func(*launch)) launch {
	l := launch{
		Spec:  driver.Spec{ID: testID, Name: "web", CPUs: 1, MemoryMiB: 256, Dir: "/srv/web", Video: driver.Video{Model: "none"}},
		Accel: "tcg", Sandbox: true, QMP: 3, Serial: 4, LogSet: 1, Sets: []fdSet{{FD: 5, Set: 1}},
	}
	change(&l)
	return l
}

func disk(device, bus string) driver.Disk {
	return driver.Disk{Device: device, Path: "/srv/" + device, Format: "qcow2", Bus: bus}
}

func TestArgv(t *testing.T) {
	tests := []struct {
		name   string
		change func(*launch)
	}{
		{"minimal", func(*launch) {}},
		{"name", func(l *launch) { l.Spec.Name = `a,b="c" $(d)` }},
		{"kvm", func(l *launch) { l.Accel, l.Sandbox, l.Spec.CPUs, l.Spec.MemoryMiB = "kvm", false, 4, 4096 }},
		{"overlay", func(l *launch) {
			l.Spec.Disks = []driver.Disk{disk("vda", "virtio")}
			l.Spec.Disks[0].Serial = `x",y`
			l.Chains = [][]layer{{{Set: 2, Format: "qcow2"}, {Set: 3, Format: "qcow2"}, {Set: 4, Format: "raw"}}}
			l.Sets = append(l.Sets, fdSet{6, 2}, fdSet{7, 3}, fdSet{8, 4})
		}},
		{"buses", func(l *launch) {
			for i, bus := range []string{"virtio", "scsi", "scsi", "ide", "ide", "ide", "sata", "sata", "usb", "usb", "nvme"} {
				d := disk("d"+strconv.Itoa(i), bus)
				d.Format = "raw"
				l.Spec.Disks = append(l.Spec.Disks, d)
				l.Chains = append(l.Chains, []layer{{Set: i + 2, Format: "raw"}})
			}
		}},
		{"cdroms", func(l *launch) {
			for i, bus := range []string{"scsi", "ide", "sata", "usb", "ide", "virtio"} {
				d := disk("d"+strconv.Itoa(i), bus)
				d.CDROM, d.ReadOnly, d.Format = i < 4, true, "raw"
				l.Spec.Disks = append(l.Spec.Disks, d)
				l.Chains = append(l.Chains, []layer{{Set: i + 2, Format: "raw"}})
			}
		}},
		{"nics", func(l *launch) {
			for i, model := range []string{"virtio", "e1000", "rtl8139", "ne2k_pci", "pcnet", "e1000e", "vmxnet3"} {
				l.Spec.NICs = append(l.Spec.NICs, driver.NIC{Tap: "t" + strconv.Itoa(i), MAC: "02:00:00:00:00:0" + strconv.Itoa(i), Model: model, MTU: 1450})
				l.Taps = append(l.Taps, 10+i)
			}
		}},
		{"cirrus", func(l *launch) { l.Spec.Video = driver.Video{Model: "cirrus", MemoryKiB: 16384} }},
		{"vga", func(l *launch) { l.Spec.Video = driver.Video{Model: "vga", MemoryKiB: 20000} }},
		{"qxl", func(l *launch) { l.Spec.Video = driver.Video{Model: "qxl"} }},
		{"virtio-vga", func(l *launch) { l.Spec.Video = driver.Video{Model: "virtio", MemoryKiB: 1} }},
		{"uefi", func(l *launch) {
			l.Spec.UEFI = true
			l.Firmware = &firmware{Code: 2, Vars: 3}
			l.Sets = append(l.Sets, fdSet{6, 2}, fdSet{7, 3})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lines(argv(plain(tt.change)))
			path := filepath.Join("testdata", tt.name+".argv")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs (see -update):\n%s", path, got)
			}
		})
	}
}

// lines puts each option on a line with its value.
func lines(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 && strings.HasPrefix(a, "-") {
			b.WriteByte('\n')
		} else if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a)
	}
	return b.String() + "\n"
}

func TestCheckSlots(t *testing.T) {
	many := func(bus string, n int) (s driver.Spec) {
		for range n {
			s.Disks = append(s.Disks, driver.Disk{Bus: bus})
		}
		return s
	}
	for bus, most := range map[string]int{"ide": maxIDE, "sata": maxSATA, "virtio": maxPCI, "nvme": maxPCI} {
		if err := checkSlots(many(bus, most)); err != nil {
			t.Errorf("%d disks on %s: %v", most, bus, err)
		}
		if err := checkSlots(many(bus, most+1)); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%d disks on %s: %v", most+1, bus, err)
		}
	}
}
