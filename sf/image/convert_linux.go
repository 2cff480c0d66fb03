package image

import (
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// outputExceeded reports whether a command ended because its output was too large.
func outputExceeded(err error, said string) bool {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGXFSZ {
			return true
		}
	}
	return strings.Contains(said, unix.EFBIG.Error()) || strings.Contains(said, "File too large")
}

// runLimited runs a command with limits on its address space, its processor time
// and the size of the files it writes. The limits are set as soon as the process
// exists, before its dynamic loader is done, let alone it has read the image.
// It dies with this process.
func runLimited(cmd *exec.Cmd, output int64) error {
	// The death signal is sent when the thread that forked ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_AS: convertMemory, unix.RLIMIT_CPU: convertCPU, unix.RLIMIT_FSIZE: uint64(output), unix.RLIMIT_CORE: 0,
	} {
		if err := unix.Prlimit(cmd.Process.Pid, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			return err
		}
	}
	return cmd.Wait()
}
