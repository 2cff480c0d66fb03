package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/shakenfist/cloud/configdrive"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/internal/layout"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
)

// card is an interface with its network.
type card struct {
	nic spec.Interface
	net spec.Network
}

// cards reads an instance's interfaces in order.
func (a *Agent) cards(ctx context.Context, i *spec.Instance) ([]card, error) {
	cards := make([]card, len(i.NICs))
	for k, ref := range i.NICs {
		nic, err := record.Get[spec.Interface](ctx, a.Records, record.InterfaceKey(ref.Network, ref.UUID))
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", ref.UUID, err)
		}
		net, err := record.Get[spec.Network](ctx, a.Records, record.NetworkKey(ref.Network))
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", ref.Network, err)
		}
		cards[k] = card{nic.Value, net.Value}
	}
	return cards, nil
}

// build makes the volumes: the disks over their images, and the config drive.
func (a *Agent) build(ctx context.Context, i *spec.Instance) error {
	m := a.of(i.UUID)
	a.mu.Lock()
	images := m.fetch.images
	a.mu.Unlock()
	devices, err := layout.Devices(i.Disks, images, a.DiskBus)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	drive, err := a.configDrive(ctx, i)
	if err != nil {
		return err
	}
	volumes := make([]driver.Volume, len(devices))
	states := make([]spec.VolumeState, len(devices))
	for k, d := range devices {
		volumes[k] = driver.Volume{Device: d.Name, Bus: d.Bus, CDROM: d.CDROM}
		states[k] = spec.VolumeState{Device: d.Name, Bus: d.Bus, CDROM: d.CDROM, Drive: d.Disk < 0}
		if d.Disk < 0 {
			volumes[k].Content = drive
			continue
		}
		disk := i.Disks[d.Disk]
		volumes[k].Size = int64(disk.SizeGB) << 30
		volumes[k].Image = images[d.Disk].ID
		volumes[k].Existing = slices.Contains(i.Brought, d.Disk)
		states[k].Base, states[k].Image = disk.Base, images[d.Disk].ID
		states[k].Size = max(volumes[k].Size, images[d.Disk].VirtualSize)
	}
	disks, err := a.Volumes.Build(ctx, i.UUID, volumes)
	if errors.Is(err, driver.ErrNotFound) { // removed while this waited for something else
		a.mu.Lock()
		m.fetch.done, m.fetch.images = false, nil
		a.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	for k := range disks {
		states[k].Path, states[k].Type = disks[k].Path, disks[k].Format
	}
	a.mu.Lock()
	m.built, m.volumes = disks, states
	a.mu.Unlock()
	return nil
}

// configDrive makes the bytes of an instance's config drive. It is a function of
// the records, so that building twice gives the same.
func (a *Agent) configDrive(ctx context.Context, i *spec.Instance) ([]byte, error) {
	cards, err := a.cards(ctx, i)
	if err != nil {
		return nil, err
	}
	c := configdrive.Config{
		UUID: i.UUID, Name: i.Name, Zone: a.Zone, RandomSeed: i.Seed, DNS: a.DNS, Created: i.Created.Truncate(time.Second),
	}
	if i.SSHKey != "" {
		c.SSHKeys = []string{i.SSHKey}
	}
	if i.UserDataSize > 0 {
		data, err := record.Bytes(ctx, a.Records, record.UserDataKey(i.UUID))
		if err != nil {
			return nil, fmt.Errorf("user data: %w", err)
		}
		c.UserData = data
	}
	if len(cards) > 0 && a.servesNames() { // at the first network with a way to the world, since others know but their own names
		way := max(slices.IndexFunc(cards, func(c card) bool { return c.net.NAT }), 0)
		c.DNS = a.resolvers(&cards[way].net)
	}
	for _, card := range cards {
		c.Interfaces = append(c.Interfaces, configdrive.Interface{
			UUID: card.nic.UUID, Network: card.net.UUID, MAC: card.nic.MAC,
			Addr:    netip.PrefixFrom(card.nic.Address, card.net.Prefix().Bits()),
			Gateway: card.net.Router(), DefaultRoute: card.net.NAT, MTU: card.net.MTU(),
		})
	}
	drive, err := configdrive.Build(c)
	if err != nil {
		return nil, fmt.Errorf("%w: config drive: %w", driver.ErrInvalid, err)
	}
	return drive, nil
}

// define makes the machine known to the hypervisor.
func (a *Agent) define(ctx context.Context, i *spec.Instance) (time.Duration, error) {
	cards, err := a.cards(ctx, i)
	if err != nil {
		return 0, err
	}
	m := a.of(i.UUID)
	a.mu.Lock()
	disks, volumes := m.built, m.volumes
	a.mu.Unlock()
	// A process that finds the machine defined will not build: what was built is on
	// record before.
	if err := a.report(ctx, i, func(s *spec.InstanceStatus) { s.Volumes = volumes }); err != nil {
		return 0, err
	}
	s := driver.Spec{
		ID: i.UUID, Name: i.Name, CPUs: i.CPUs, MemoryMiB: i.MemoryMiB, Disks: disks,
		Video: driver.Video{Model: i.Video.Model, MemoryKiB: i.Video.MemoryKiB},
		UEFI:  i.UEFI, Dir: a.Volumes.Dir(i.UUID),
	}
	if s.Video.Model == "" {
		s.Video.Model = "cirrus"
	}
	if s.Video.MemoryKiB == 0 {
		s.Video.MemoryKiB = 16384
	}
	for _, card := range cards {
		at := a.Fabric.Attachment(card.net.UUID, card.net.VNI, card.nic.UUID)
		mac, err := spec.ParseMAC(card.nic.MAC)
		if err != nil {
			return 0, err
		}
		s.NICs = append(s.NICs, driver.NIC{Tap: at.Tap, NetNS: at.NetNS, MAC: mac, Model: card.nic.Model, MTU: card.net.MTU()})
	}
	if err := a.Hypervisor.Create(ctx, s); err != nil {
		return 0, fmt.Errorf("machine: %w", err)
	}
	return again, nil
}
