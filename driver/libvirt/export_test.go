//go:build linux

package libvirt

// AwayName is the name of a machine's n-th tap on its way.
var AwayName = awayName
