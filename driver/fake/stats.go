package fake

import (
	"context"

	"github.com/shakenfist/cloud/driver"
)

var _ driver.Stater = (*Hypervisor)(nil)

// Stats implements driver.Stater. Counters grow by the same each time they are
// asked for: a second of CPU and 1 MiB of everything else. Memory is the machine's.
func (v *Hypervisor) Stats(ctx context.Context, id string) (st driver.Stats, err error) {
	err = v.with(ctx, "Stats", id, func(m *machine) error {
		if !m.status.State.On() {
			return wrongState(m, "measure")
		}
		m.looks++
		const mib = 1 << 20
		n := m.looks * mib
		st = driver.Stats{
			CPUNanoseconds: m.looks * 1e9, MemoryBytes: int64(m.spec.MemoryMiB) * mib,
			ReadBytes: n, WrittenBytes: n, ReceivedBytes: n, SentBytes: n,
		}
		return nil
	})
	return st, err
}
