// Package room tells whether there is any on the host's disks.
package room

import (
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/driver"
	"golang.org/x/sys/unix"
)

// enough is how many bytes make it worthwhile to let a stalled machine try again.
const enough = 1 << 20

// Mark marks errors of a full disk as what they are: driver.ErrNoSpace.
func Mark(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", driver.ErrNoSpace, err)
	}
	return err
}

// For reports whether all disks that a machine writes to have room to grow, as far as
// can be seen.
func For(s driver.Spec) bool {
	for _, d := range s.Disks {
		var st unix.Statfs_t
		if d.CDROM || d.ReadOnly || unix.Statfs(d.Path, &st) != nil {
			continue
		}
		if st.Bavail*uint64(st.Bsize) < enough {
			return false
		}
	}
	return true
}
