//go:build !linux

package libvirtd

// Main does nothing where there is no libvirtd.
func Main() {}
