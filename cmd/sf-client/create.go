package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/spf13/cobra"
)

// createOptions are the options of instance create.
type createOptions struct {
	networks, networkSpecs, disks, diskSpecs repeated
	sshKeyFile, sshKey                       string
	userDataFile, userData                   string
	placement, video                         string
	uefi, async                              bool
	namespace                                *string
}

func (a *app) instanceCreate() *cobra.Command {
	c := &cobra.Command{
		Use:   "create NAME CPUS MEMORY",
		Short: "Create an instance and wait until it runs",
		Long: `Create an instance and wait until it runs.

MEMORY is in MiB; a number below 256 is taken for GiB. Disks appear to the guest in the order given, all -d before all
-D, and the first one boots; so do network interfaces.`,
		Example: `  sf-client instance create vm1 1 1024 -d 8@cirros -n NETWORK_UUID
  sf-client instance create vm2 2 2048 -d 20@debian:12 -d 100 -n NETWORK_UUID@10.0.0.5 -i ~/.ssh/id_ed25519.pub
  sf-client instance create vm3 1 512 -D size=8,base=cirros,bus=ide -N network_uuid=NETWORK_UUID,model=e1000`,
		Args: exactly("NAME", "CPUS", "MEMORY"),
	}
	var o createOptions
	f := c.Flags()
	f.VarP(&o.networks, "network", "n", "a network interface: NETWORK[@ADDRESS]")
	f.VarP(&o.networkSpecs, "networkspec", "N", "a network interface: network_uuid=…,address=…,macaddress=…,model=…")
	f.VarP(&o.disks, "disk", "d", "a disk: SIZE[@IMAGE], in GB")
	f.VarP(&o.diskSpecs, "diskspec", "D", "a disk: size=…,base=IMAGE,bus=…,type=disk or cdrom")
	f.StringVarP(&o.sshKeyFile, "sshkey", "i", "", "file with a public ssh key")
	f.StringVarP(&o.sshKey, "sshkeydata", "I", "", "a public ssh key")
	f.StringVarP(&o.userDataFile, "userdata", "u", "", "file with user data for cloud-init")
	f.StringVarP(&o.userData, "encodeduserdata", "U", "", "user data in base64")
	f.StringVarP(&o.placement, "placement", "p", "", "name of the node to run on")
	f.StringVarP(&o.video, "videospec", "V", "", "the graphics card: model=…,memory=… in KiB")
	f.BoolVar(&o.uefi, "uefi", false, "boot by UEFI instead of a BIOS")
	f.BoolVar(&o.async, "async", false, "do not wait")
	o.namespace = a.forNamespace(c)
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		s, err := a.instanceSpec(&o, args)
		if err != nil {
			return err
		}
		i, err := a.waits(cl, o.async).CreateInstance(ctx, *o.namespace, s)
		id, late := overdue(err)
		switch {
		case late:
			err = a.waitInstance(ctx, cl, id, client.InstanceCreated)
		case err == nil && a.progress && !o.async:
			id, err = i.UUID, a.waitInstance(ctx, cl, i.UUID, client.InstanceCreated)
		case err == nil:
			id = i.UUID
		}
		if err != nil {
			return err
		}
		return a.instanceShow(ctx, cl, id, false)
	})
}

// instanceSpec is what the command line asks for.
func (a *app) instanceSpec(o *createOptions, args []string) (s spec.InstanceSpec, err error) {
	s = spec.InstanceSpec{Name: args[0], PlacedOn: o.placement, UEFI: o.uefi}
	if s.CPUs, err = strconv.Atoi(args[1]); err != nil {
		return s, usage("CPUS is a number, not %q", args[1])
	}
	if s.MemoryMiB, err = strconv.Atoi(args[2]); err != nil {
		return s, usage("MEMORY is a number of MiB, not %q", args[2])
	}
	if s.MemoryMiB > 0 && s.MemoryMiB < 256 {
		a.warn("Less than 256 of memory is taken as GB, as Shaken Fist 0.2 does.")
		a.warn(fmt.Sprintf("Please say %d, in MiB.", s.MemoryMiB*1024))
		s.MemoryMiB *= 1024
	}
	if s.Disks, err = disks(o); err != nil {
		return s, usageError{err}
	}
	if s.Interfaces, err = nics(o); err != nil {
		return s, usageError{err}
	}
	if o.video != "" {
		if s.Video, err = spec.ParseVideo(o.video); err != nil {
			return s, usageError{err}
		}
	}
	if s.SSHKey, err = orFile(o.sshKey, o.sshKeyFile); err != nil {
		return s, err
	}
	if o.userData != "" {
		if s.UserData, err = base64.StdEncoding.DecodeString(o.userData); err != nil {
			return s, usage("the user data is not valid base64: %v", err)
		}
		return s, nil
	}
	userData, err := orFile("", o.userDataFile)
	s.UserData = []byte(userData)
	return s, err
}

// warn prints a warning where it does not disturb a program that reads JSON.
func (a *app) warn(text string) {
	if a.format != asJSON {
		fmt.Fprintln(a.out, "WARNING: "+text)
	}
}

func disks(o *createOptions) (disks []spec.Disk, err error) {
	for _, s := range o.disks {
		d, err := spec.ParseDisk(s)
		if err != nil {
			return nil, err
		}
		disks = append(disks, d)
	}
	for _, s := range o.diskSpecs {
		d, err := spec.ParseDiskSpec(s)
		if err != nil {
			return nil, err
		}
		disks = append(disks, d)
	}
	if len(disks) == 0 {
		return nil, errors.New("you must specify at least one disk, with -d or -D")
	}
	return disks, nil
}

func nics(o *createOptions) (nics []spec.InterfaceSpec, err error) {
	for _, s := range o.networks {
		n, err := spec.ParseInterface(s)
		if err != nil {
			return nil, err
		}
		nics = append(nics, n)
	}
	for _, s := range o.networkSpecs {
		n, err := spec.ParseInterfaceSpec(s)
		if err != nil {
			return nil, err
		}
		nics = append(nics, n)
	}
	return nics, nil
}

// orFile is the text, or what is in the file where there is none.
func orFile(text, name string) (string, error) {
	if text != "" || name == "" {
		return text, nil
	}
	data, err := os.ReadFile(name)
	return string(data), err
}
