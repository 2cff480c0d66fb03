package layout

import (
	"strings"
	"testing"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/spec"
)

func TestDevices(t *testing.T) {
	iso := driver.Image{CDROM: true}
	for _, c := range []struct {
		name   string
		disks  []spec.Disk
		images []driver.Image
		want   string
	}{
		{"one disk and the config drive", []spec.Disk{{}}, nil, "vda vdb*"},
		{"three disks", []spec.Disk{{}, {}, {}}, nil, "vda vdb* vdc vdd"},
		{"letters go by position, whatever the bus", []spec.Disk{{}, {Bus: "ide"}}, nil, "vda vdb* hdc"},
		{"the config drive is on the first disk's bus", []spec.Disk{{Bus: "ide"}, {}}, nil, "hda hdb* vdc"},
		{"scsi, usb, sata and nvme are sd", []spec.Disk{{Bus: "scsi"}, {Bus: "usb"}, {Bus: "sata"}, {Bus: "nvme"}}, nil, "sda sdb* sdc sdd sde"},
		{"an ISO image is a CD-ROM on IDE", []spec.Disk{{}, {}}, []driver.Image{{}, iso}, "vda vdb* hdc+"},
		{"as is what is asked for as one", []spec.Disk{{}, {Type: "cdrom"}}, nil, "vda vdb* hdc+"},
		{"a CD-ROM first leaves the config drive on the default bus", []spec.Disk{{}}, []driver.Image{iso}, "hda+ vdb*"},
		{"IDE ends at hdd, so a late CD-ROM moves up", []spec.Disk{{}, {}, {}, {Type: "cdrom"}}, nil, "vda vdb* vdc vdd hda+"},
		{"four on IDE", []spec.Disk{{Bus: "ide"}, {Bus: "ide"}, {}, {}, {Type: "cdrom"}}, nil, "hda hdb* hdc vdd vde hdd+"},
	} {
		got, err := Devices(c.disks, c.images, "virtio")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if s := show(got); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func TestTooManyOnIDE(t *testing.T) {
	disks := []spec.Disk{{Bus: "ide"}, {Bus: "ide"}, {Bus: "ide"}, {Bus: "ide"}}
	if got, err := Devices(disks, nil, "virtio"); err == nil || !strings.Contains(err.Error(), "more than 4 devices on the IDE bus") {
		t.Errorf("%s, %v", show(got), err)
	}
}

func show(devices []Device) string {
	var all []string
	for _, d := range devices {
		s := d.Name
		if d.Disk < 0 {
			s += "*"
		}
		if d.CDROM {
			s += "+"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}
