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
	tags, affinities, metadata               repeated
	sshKeyFile, sshKey                       string
	userDataFile, userData                   string
	placement, video                         string
	uefi, dryRun                             bool
	once                                     string
	namespace                                *string
}

func (a *app) instanceCreate() *cobra.Command {
	c := &cobra.Command{
		Use:   "create NAME CPUS MEMORY",
		Short: "Create an instance and wait until it runs",
		Long: `Create an instance and wait until it runs.

MEMORY is in MiB; a number below 256 is taken for GiB. Disks appear to the guest in the order given, all -d before all
-D, and the first one boots; so do network interfaces. NETWORK is a UUID or a name.

With --dry-run nothing is created: the nodes that could take the instance are shown, the preferred first, and why
others could not. The exit status is 1 where none could.`,
		Example: `  sf-client instance create vm1 1 1024 -d 8@cirros -n mynet
  sf-client instance create vm2 2 2048 -d 20@debian:12 -d 100 -n mynet@10.0.0.5 -i ~/.ssh/id_ed25519.pub
  sf-client instance create vm3 1 512 -D size=8,base=cirros,bus=ide -N network_uuid=mynet,model=e1000,float=true
  sf-client instance create web2 1 1024 -d 8@cirros --tag web --affinity web=-10 --dry-run`,
		Args: exactly("NAME", "CPUS", "MEMORY"),
	}
	var o createOptions
	f := c.Flags()
	f.VarP(&o.networks, "network", "n", "a network interface: NETWORK[@ADDRESS]")
	f.VarP(&o.networkSpecs, "networkspec", "N", "a network interface: network_uuid=NETWORK,address=…,macaddress=…,model=…,float=true")
	f.VarP(&o.disks, "disk", "d", "a disk: SIZE[@IMAGE], in GB")
	f.VarP(&o.diskSpecs, "diskspec", "D", "a disk: size=…,base=IMAGE,bus=…,type=disk or cdrom")
	f.StringVarP(&o.sshKeyFile, "sshkey", "i", "", "file with a public ssh key")
	f.StringVarP(&o.sshKey, "sshkeydata", "I", "", "a public ssh key")
	f.StringVarP(&o.userDataFile, "userdata", "u", "", "file with user data for cloud-init")
	f.StringVarP(&o.userData, "encodeduserdata", "U", "", "user data in base64")
	f.StringVarP(&o.placement, "placement", "p", "", "name of the node to run on")
	f.StringVarP(&o.video, "videospec", "V", "", "the graphics card: model=…,memory=… in KiB")
	f.BoolVar(&o.uefi, "uefi", false, "boot by UEFI instead of a BIOS")
	f.Var(&o.tags, "tag", "a label that other instances' affinities speak of")
	f.Var(&o.affinities, "affinity", "LABEL=WEIGHT: be with instances that carry a label, or far from them where negative")
	f.Var(&o.metadata, "metadata", "KEY=VALUE, a metadata item")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say where it would run")
	once(c, &o.once)
	o.namespace = a.forNamespace(c)
	c.RegisterFlagCompletionFunc("network", a.completeOption(networkNoun))
	c.RegisterFlagCompletionFunc("placement", a.completeOption(nodeNoun))
	p := a.patient(c)
	return a.does(c, func(ctx context.Context, cl *client.Client, args []string) error {
		ctx, cancel := p.limit(ctx)
		defer cancel()
		s, err := a.instanceSpec(&o, args)
		if err != nil {
			return err
		}
		for i := range s.Interfaces {
			n := &s.Interfaces[i]
			if n.Network, err = cl.FindNetwork(ctx, *o.namespace, n.Network); err != nil {
				return err
			}
		}
		if o.dryRun {
			return a.placement(ctx, cl, *o.namespace, s)
		}
		i, err := p.client(cl).CreateInstance(ctx, *o.namespace, s)
		id, late := overdue(err)
		if !late {
			id = i.UUID
		}
		if err := p.settle(err, func() error { return a.waitInstance(ctx, cl, id, client.InstanceCreated) }); err != nil {
			return err
		}
		return a.instanceShow(ctx, cl, id, false)
	})
}

// once defines the option that makes a repeated create safe.
func once(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "idempotency-key", "", "the same create with the same key within 24 hours makes nothing new, and shows what there is")
}

// instanceSpec is what the command line asks for.
func (a *app) instanceSpec(o *createOptions, args []string) (s spec.InstanceSpec, err error) {
	s = spec.InstanceSpec{Name: args[0], PlacedOn: o.placement, UEFI: o.uefi, IdempotencyKey: o.once}
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
	if s.Metadata, err = metadataOf(o); err != nil {
		return s, usageError{err}
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
		fmt.Fprintln(a.out, a.paint("WARNING:", yellow)+" "+text)
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
