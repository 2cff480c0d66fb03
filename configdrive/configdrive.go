// Package configdrive makes the small disk on which a cloud tells a guest who it
// is: its name, keys, addresses and user data, in OpenStack's layout and on an
// ISO 9660 file system labelled "config-2", as cloud-init and its kin expect.
//
// Build is a pure function: the same Config gives the same bytes. The drive holds
// two directories, openstack/latest and openstack/2017-02-22, with the same files
// (and the same blocks): cloud-init takes the newest dated directory that it
// knows and then looks nowhere else, other readers know only "latest".
package configdrive

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/shakenfist/cloud/configdrive/internal/isofs"
)

// Label is the volume label by which guests find the drive.
const Label = "config-2"

// Directories of the drive; their contents are the same.
const (
	Latest = "openstack/latest"
	Dated  = "openstack/2017-02-22"
)

// Errors of this package; compare with errors.Is.
var (
	// ErrInvalid: the Config contradicts itself or has no place on a drive; the
	// text says which field. Retrying is useless.
	ErrInvalid = errors.New("configdrive: invalid configuration")
	// ErrFormat: what Read was given is not a config drive, or is a damaged one.
	ErrFormat = errors.New("configdrive: not a valid config drive")
)

// Config is what a guest is told. Only UUID and Name are required.
type Config struct {
	UUID string // of the instance; cloud-init takes a changed one for a new machine
	Name string // of the instance
	// Hostname is what the guest should call itself; empty means Name + ".local".
	Hostname string
	Zone     string // availability zone
	// SSHKeys are public keys, each text as an authorized_keys file: a key per
	// line, empty lines and comments left out.
	SSHKeys []string
	// UserData is any bytes of any length; nil means that there is no user data,
	// which is different from an empty file.
	UserData []byte
	// VendorData is a JSON document; empty means {}.
	VendorData json.RawMessage
	// RandomSeed is entropy for the guest, to be made once and kept with the
	// instance; empty leaves it out.
	RandomSeed []byte
	// Interfaces in the order in which the machine has them: eth0 first.
	Interfaces []Interface
	DNS        []netip.Addr // name servers, the preferred one first
	// Created is the time stamp of everything on the drive, to the second. The
	// zero Time means the Unix epoch.
	Created time.Time
}

// Interface is a network card of the guest.
type Interface struct {
	UUID    string // of the interface
	Network string // UUID of its network
	MAC     string // six bytes: "02:00:00:ab:cd:ef"; distinct in a Config
	// Addr is the interface's IPv4 address and its network's prefix length
	// ("10.0.0.5/24"). The zero Prefix means an interface without an address.
	Addr netip.Prefix
	// Gateway is the network's router, in the same network as Addr. It may be
	// left out where DefaultRoute is false.
	Gateway netip.Addr
	// DefaultRoute says that Gateway leads to the world. A guest is given one
	// default route: by the first of its interfaces that has this set.
	DefaultRoute bool
	MTU          int // bytes; 0 says nothing
}

// Build returns the drive: a raw disk image of whole 2048-byte blocks. Errors wrap ErrInvalid.
func Build(c Config) ([]byte, error) {
	contents, err := c.contents()
	if err != nil {
		return nil, fmt.Errorf("%w: instance %s: %w", ErrInvalid, c.UUID, err)
	}
	var files []isofs.File
	for _, f := range contents {
		for _, dir := range []string{Latest, Dated} {
			files = append(files, isofs.File{Path: dir + "/" + f.Path, Data: f.Data})
		}
	}
	image, err := isofs.Build(isofs.Options{Label: Label, Time: c.Created}, files)
	if err != nil {
		return nil, fmt.Errorf("%w: instance %s: %w", ErrInvalid, c.UUID, err)
	}
	return image, nil
}

// contents makes the files of one directory.
func (c Config) contents() ([]isofs.File, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	vendor := c.VendorData
	if len(vendor) == 0 {
		vendor = json.RawMessage("{}")
	}
	meta, err := encode(c.metaData())
	if err != nil {
		return nil, fmt.Errorf("meta data: %w", err)
	}
	network, err := encode(c.networkData())
	if err != nil {
		return nil, fmt.Errorf("network data: %w", err)
	}
	files := []isofs.File{
		{Path: "meta_data.json", Data: meta},
		{Path: "network_data.json", Data: network},
		{Path: "vendor_data.json", Data: vendor},
		{Path: "vendor_data2.json", Data: []byte("{}")},
	}
	if c.UserData != nil {
		files = append(files, isofs.File{Path: "user_data", Data: c.UserData})
	}
	return files, nil
}
