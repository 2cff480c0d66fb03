package v02

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/layout"
	"github.com/shakenfist/cloud/sf/spec"
)

func (r *reader) readInstances() {
	for _, id := range slices.Sorted(maps.Keys(r.kinds["instance"])) {
		i, name, err := r.instance(id)
		if err != nil {
			r.refuse(spec.KindInstance, id, name, err.Error())
		}
		if i != nil {
			r.plan.Instances = append(r.plan.Instances, *i)
		}
	}
}

// instance reads one instance; nil without an error for one that is deleted.
func (r *reader) instance(id string) (i *Instance, name string, err error) {
	o, err := parse(r.kinds["instance"][id].Value)
	if err != nil {
		return nil, "", err
	}
	name = o.maybe("name")
	state := o.text("state")
	if state == "deleted" {
		return nil, name, nil
	}
	i = &Instance{UUID: o.text("uuid"), Namespace: o.maybe("namespace"), Node: o.text("node"), Power: power(o.maybe("power_state"))}
	i.Spec = spec.InstanceSpec{Name: o.text("name"), CPUs: o.number("cpus", true), MemoryMiB: o.number("memory", true), SSHKey: o.maybe("ssh_key")}
	i.Spec.Disks = disks(o)
	video := o.object("video")
	i.Spec.Video = spec.Video{Model: video.maybe("model"), MemoryKiB: video.number("memory", false)}
	o.takeOver(video, "video")
	if i.Spec.UserData, err = base64.StdEncoding.DecodeString(o.maybe("user_data")); err != nil {
		o.bad("user_data is not base64")
	}
	made := o.object("block_devices").objects("devices")
	if err := o.err(); err != nil {
		return nil, name, err
	}
	if err := r.owned(id, i.UUID, i.Namespace); err != nil {
		return nil, name, err
	}
	switch state {
	case "created":
	case "initial", "creating":
		return nil, name, fmt.Errorf("its state is %q: it was never finished", state)
	default:
		return nil, name, fmt.Errorf("its state is %q", state)
	}
	if i.Spec.Metadata, err = r.metadata(spec.KindInstance, id); err != nil {
		return nil, name, err
	}
	if err := r.lay(i, made); err != nil {
		return nil, name, err
	}
	take, err := r.plug(i)
	if err == nil {
		err = i.Spec.Validate()
	}
	if err == nil {
		_, _, err = spec.ParseAffinity(i.Spec.Metadata)
	}
	if err != nil {
		return nil, name, err
	}
	take()
	return i, name, nil
}

// power is what an instance is to be when it is started here.
func power(was string) spec.PowerState {
	switch was {
	case "off", "crashed":
		return spec.PowerOff
	case "paused":
		return spec.PowerPaused
	}
	return spec.PowerOn
}

func disks(o *object) []spec.Disk {
	var all []spec.Disk
	for k, d := range o.objects("disk_spec") {
		all = append(all, spec.Disk{SizeGB: d.number("size", false), Base: d.maybe("base"), Bus: d.maybe("bus"), Type: d.maybe("type")})
		o.takeOver(d, fmt.Sprintf("disk %d", k))
	}
	return all
}

var deviceForm = regexp.MustCompile(`^(vd|hd|sd)[a-z]$`)

// lay finds an instance's disks among the devices that the original made: the first,
// the config drive, and the others in order. They keep their bus, whatever the default
// is here. A record that does not tell of them says nothing of files either.
func (r *reader) lay(i *Instance, made []*object) error {
	if len(i.Spec.Disks) == 0 {
		return errors.New("it has no disk")
	}
	if len(made) != 0 && len(made) != len(i.Spec.Disks)+1 {
		return fmt.Errorf("its record is damaged: it has %d disks and %d block devices, one of which is the config drive", len(i.Spec.Disks), len(made))
	}
	def := r.DiskBus
	if def == "" {
		def = "virtio"
	}
	images := make([]driver.Image, len(i.Spec.Disks))
	files := map[int]string{}
	for k, d := range made {
		index := max(k-1, 0)
		if k == 1 {
			continue // the config drive
		}
		device, bus := d.maybe("device"), d.maybe("bus")
		images[index].CDROM = d.maybe("present_as") == "cdrom"
		if i.Spec.Disks[index].Bus == "" && bus != def && !images[index].CDROM {
			i.Spec.Disks[index].Bus = bus
		}
		if d.maybe("type") == "qcow2" && !images[index].CDROM && deviceForm.MatchString(device) {
			files[index] = device + ".qcow2"
		}
		if len(d.wrong) > 0 {
			return fmt.Errorf("its record is damaged: block device %d: %s", k, d.wrong[0])
		}
	}
	devices, err := layout.Devices(i.Spec.Disks, images, def)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if file := files[d.Disk]; d.Disk >= 0 && file != "" {
			i.Disks = append(i.Disks, Disk{Index: d.Disk, File: file, Device: d.Name})
		}
	}
	slices.SortFunc(i.Disks, func(a, b Disk) int { return a.Index - b.Index })
	return nil
}
