package qemu

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// cldExited is si_code of a process that returned by itself.
const cldExited = 1

// siginfoStatus finds si_status, which x/sys does not name: after three ints
// (and padding where pointers have 8 bytes) come si_pid, si_uid and si_status.
func siginfoStatus(info *unix.Siginfo) *int32 {
	base := unsafe.Sizeof(int32(0)) * 3
	if align := unsafe.Sizeof(uintptr(0)); base%align != 0 {
		base += align - base%align
	}
	return (*int32)(unsafe.Add(unsafe.Pointer(info), base+8))
}
