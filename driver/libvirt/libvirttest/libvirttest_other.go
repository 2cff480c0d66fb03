//go:build !linux

package libvirttest

// Main does nothing where there is no libvirtd.
func Main() {}
