package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shakenfist/cloud/cmd/sfd/internal/doctor"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/netfab"
)

// remove removes an orphan. What is gone already is fine.
func (p *patient) remove(ctx context.Context, t doctor.Thing) error {
	switch t.Kind {
	case doctor.Machine:
		return p.destroy(ctx, t)
	case doctor.Process:
		return endProcess(t)
	case doctor.Volumes, doctor.Snapshots, doctor.Work:
		return os.RemoveAll(t.Name)
	case doctor.Cgroup:
		if err := os.Remove(t.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: a process is still in it", err)
		}
		return nil
	}
	return p.fabric.Remove(ctx, netfab.Owned{Kind: t.Kind, Name: t.Name, Tag: t.Tag, Network: t.Network})
}

// destroy has the hypervisor forget a machine. No sfd runs: it has the records' lock.
func (p *patient) destroy(ctx context.Context, t doctor.Thing) error {
	h, err := openHypervisor(ctx, p.c, p.tag, quietly())
	if err != nil {
		return err
	}
	return errors.Join(h.Destroy(ctx, t.Instance), h.Close())
}

// endProcess kills a QEMU if it is still the one that was seen.
func endProcess(t doctor.Thing) error {
	found, err := qemu.Processes()
	if err != nil {
		return err
	}
	for _, q := range found {
		now := processThing(q)
		if now.PID == t.PID && now.Name == t.Name && now.Why == t.Why {
			return q.End()
		}
	}
	return nil
}
