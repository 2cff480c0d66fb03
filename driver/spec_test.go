package driver_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
)

func good() driver.Spec {
	return driver.Spec{
		ID: "0b7f0e9c-61b4-4b0e-a9a5-2f6f0b9d1c11", Name: "web", CPUs: 1, MemoryMiB: 64, Dir: "/srv/x",
		Disks: []driver.Disk{{Device: "vda", Path: "/srv/x/vda", Format: "qcow2", Bus: "virtio"}},
		NICs:  []driver.NIC{{Tap: "sf-t1", MAC: "02:00:00:ab:cd:ef", Model: "virtio", MTU: 1450}},
		Video: driver.Video{Model: "cirrus"},
	}
}

var info = driver.Info{
	Buses: []string{"virtio", "ide"}, NICModels: []string{"virtio"}, VideoModels: []string{"cirrus", "none"},
}

func TestCheck(t *testing.T) {
	if err := driver.Check(good(), info); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		break_ func(*driver.Spec)
		want   string // what the error must name
	}{
		{"id", func(s *driver.Spec) { s.ID = "../../etc" }, "ID"},
		{"id upper case", func(s *driver.Spec) { s.ID = strings.ToUpper(s.ID) }, "ID"},
		{"name", func(s *driver.Spec) { s.Name = "a\nb" }, "Name"},
		{"cpus", func(s *driver.Spec) { s.CPUs = 0 }, "CPUs"},
		{"memory", func(s *driver.Spec) { s.MemoryMiB = -1 }, "MemoryMiB"},
		{"dir", func(s *driver.Spec) { s.Dir = "relative" }, "Dir"},
		{"uefi", func(s *driver.Spec) { s.UEFI = true }, "UEFI"},
		{"video", func(s *driver.Spec) { s.Video.Model = "voodoo" }, "Video.Model"},
		{"video accepted", func(s *driver.Spec) { s.Video.Model = "voodoo" }, "cirrus, none"},
		{"video memory", func(s *driver.Spec) { s.Video.MemoryKiB = -1 }, "Video.MemoryKiB"},
		{"bus", func(s *driver.Spec) { s.Disks[0].Bus = "floppy" }, "Disks[0].Bus"},
		{"bus accepted", func(s *driver.Spec) { s.Disks[0].Bus = "floppy" }, "virtio, ide"},
		{"device", func(s *driver.Spec) { s.Disks[0].Device = "vda,x" }, "Disks[0].Device"},
		{"device twice", func(s *driver.Spec) { s.Disks = append(s.Disks, s.Disks[0]) }, "Disks[1].Device"},
		{"path", func(s *driver.Spec) { s.Disks[0].Path = "vda" }, "Disks[0].Path"},
		{"format", func(s *driver.Spec) { s.Disks[0].Format = "" }, "Disks[0].Format"},
		{"serial", func(s *driver.Spec) { s.Disks[0].Serial = strings.Repeat("x", 21) }, "Disks[0].Serial"},
		{"cdrom bus", func(s *driver.Spec) { s.Disks[0].CDROM = true }, "Disks[0].Bus"},
		{"tap", func(s *driver.Spec) { s.NICs[0].Tap = "much-too-long-tap" }, "NICs[0].Tap"},
		{"netns", func(s *driver.Spec) { s.NICs[0].NetNS = "n1" }, "NICs[0].NetNS"},
		{"mac", func(s *driver.Spec) { s.NICs[0].MAC = "no" }, "NICs[0].MAC"},
		{"mac multicast", func(s *driver.Spec) { s.NICs[0].MAC = "01:00:00:00:00:01" }, "NICs[0].MAC"},
		{"model", func(s *driver.Spec) { s.NICs[0].Model = "x" }, "NICs[0].Model"},
		{"mtu", func(s *driver.Spec) { s.NICs[0].MTU = 7 }, "NICs[0].MTU"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := good()
			tt.break_(&s)
			err := driver.Check(s, info)
			if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want ErrInvalid naming %q", err, tt.want)
			}
		})
	}
}

func TestEqual(t *testing.T) {
	a, b := good(), good()
	if !a.Equal(b) {
		t.Fatal("equal specs differ")
	}
	b.NICs[0].MTU++
	if a.Equal(b) {
		t.Fatal("different NICs are equal")
	}
	a.Disks, b = nil, good()
	b.Disks = []driver.Disk{}
	if !a.Equal(b) {
		t.Fatal("no disks and an empty list of disks differ")
	}
}
