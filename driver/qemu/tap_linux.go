package qemu

import (
	"fmt"
	"os"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/internal/tap"
)

// openTap attaches to an existing tap where it is, in whatever network namespace.
func openTap(n driver.NIC) (*os.File, error) {
	offload := n.Model == "virtio" || n.Model == "e1000e" || n.Model == "vmxnet3"
	f, err := tap.Open(n.NetNS, n.Tap, offload)
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", n.Tap, err)
	}
	return f, nil
}
