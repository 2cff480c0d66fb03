package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests and results of /dev/kvm, from the kernel's documentation.
const (
	kvmGetAPIVersion   = 0xae00
	kvmCreateVM        = 0xae01
	kvmVCPUMmapSize    = 0xae04
	kvmCreateVCPU      = 0xae41
	kvmSetMemoryRegion = 0x4020ae46
	kvmRun             = 0xae80
	kvmSetRegs         = 0x4090ae82
	kvmGetSregs        = 0x8138ae83
	kvmSetSregs        = 0x4138ae84
	kvmExitHLT         = 5
	kvmProbeLimit      = 2 * time.Second
)

var virtFlags = regexp.MustCompile(`(?m)^flags\s*:.*\b(vmx|svm)\b`)

// kvmWorks returns why machines cannot run on KVM here, or nil. A device node
// proves nothing: the processor must say that it has the extension, and a machine
// of three instructions must run and halt in time. asOther asks for the rights of
// another user in the device's group.
func kvmWorks(ctx context.Context, asOther bool) error {
	st, err := os.Stat("/dev/kvm")
	if err != nil {
		return err
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	if !virtFlags.Match(info) {
		return errors.New("the processor shows neither vmx nor svm")
	}
	if asOther && st.Mode().Perm()&0o060 != 0o060 && st.Mode().Perm()&0o006 != 0o006 {
		return fmt.Errorf("/dev/kvm has mode %v, which lets no other user in", st.Mode().Perm())
	}
	return runTiny(ctx, kvmProbeLimit)
}

// runTiny runs a machine that adds and halts, and interrupts it at the limit. One
// that cannot be interrupted either is left behind with its thread.
func runTiny(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	up := make(chan func(), 1)
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with what KVM did to it
		tid := unix.Gettid()
		result <- tiny(func(run []byte) {
			up <- func() {
				run[1] = 1 // immediate_exit, should the signal come before KVM_RUN
				unix.Tgkill(unix.Getpid(), tid, unix.SIGURG)
			}
		})
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case interrupt := <-up:
		interrupt()
	case <-late.C:
		return errors.New("KVM did not make a machine in time")
	}
	select {
	case err := <-result:
		return fmt.Errorf("in %v: %w", limit, err)
	case <-late.C:
		return fmt.Errorf("KVM did not halt its machine in %v and cannot be interrupted", limit)
	}
}

// tiny makes and runs the machine on this thread.
func tiny(ready func(run []byte)) error {
	kvm, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/kvm: %w", err)
	}
	defer unix.Close(kvm)
	if v, err := ioctl(kvm, kvmGetAPIVersion, 0); err != nil || v != 12 {
		return fmt.Errorf("KVM has interface version %d, not 12: %v", v, err)
	}
	vm, err := ioctl(kvm, kvmCreateVM, 0)
	if err != nil {
		return fmt.Errorf("KVM makes no machine: %w", err)
	}
	defer unix.Close(vm)
	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	defer unix.Munmap(mem)
	copy(mem, []byte{0xb0, 0x29, 0x04, 0x01, 0xf4}) // mov al,41; add al,1; hlt
	region := struct {
		slot, flags       uint32
		phys, size, where uint64
	}{size: 4096, where: uint64(uintptr(unsafe.Pointer(&mem[0])))}
	if _, err := ioctl(vm, kvmSetMemoryRegion, uintptr(unsafe.Pointer(&region))); err != nil {
		return fmt.Errorf("KVM takes no memory: %w", err)
	}
	cpu, err := ioctl(vm, kvmCreateVCPU, 0)
	if err != nil {
		return fmt.Errorf("KVM makes no processor: %w", err)
	}
	defer unix.Close(cpu)
	size, err := ioctl(kvm, kvmVCPUMmapSize, 0)
	if err != nil {
		return fmt.Errorf("KVM shares no page: %w", err)
	}
	run, err := unix.Mmap(cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("KVM shares no page: %w", err)
	}
	// run stays mapped: whoever interrupts us may still write to it.
	if err := atZero(cpu); err != nil {
		return fmt.Errorf("KVM sets no registers: %w", err)
	}
	ready(run)
	_, err = ioctl(cpu, kvmRun, 0)
	for errors.Is(err, unix.EINTR) && run[1] == 0 { // by a signal of Go's own
		_, err = ioctl(cpu, kvmRun, 0)
	}
	if err != nil {
		return fmt.Errorf("KVM does not run its machine: %w", err)
	}
	if reason := binary.NativeEndian.Uint32(run[8:]); reason != kvmExitHLT {
		return fmt.Errorf("KVM ended its machine with reason %d instead of a halt", reason)
	}
	return nil
}

// atZero lets the processor begin at address 0, in real mode.
func atZero(cpu int) error {
	var sregs [312]byte // begins with cs: its base at 0, its selector at 12
	if _, err := ioctl(cpu, kvmGetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return err
	}
	clear(sregs[0:8])
	clear(sregs[12:14])
	if _, err := ioctl(cpu, kvmSetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return err
	}
	var regs [18]uint64 // the last is rflags, before it rip
	regs[17] = 2
	_, err := ioctl(cpu, kvmSetRegs, uintptr(unsafe.Pointer(&regs)))
	return err
}

func ioctl(fd int, request, arg uintptr) (int, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, arg)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
