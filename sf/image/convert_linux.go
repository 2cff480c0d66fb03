package image

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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

// nobody is the user and group of the converter where we are root.
const nobody = 65534

// confine gives a command the names of what it reads and of what it makes, in a directory
// that is empty but for us. It reads a stranger's bytes, and is no root with which whoever
// takes it over could go anywhere: it reaches both by descriptors, since nobody may enter
// the directories above.
func confine(cmd *exec.Cmd, from, to string) (release func() error, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	dir := filepath.Dir(to)
	cmd.Env = []string{"LC_ALL=C", "TMPDIR=" + dir}
	if os.Geteuid() != 0 {
		cmd.Dir, cmd.Args = dir, append(cmd.Args, from, to)
		return func() error { return nil }, nil
	}
	in, err := os.Open(from)
	if err == nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, in) // descriptor 3
		err = in.Chmod(0o444)                       // as it will be in the cache
	}
	if err == nil {
		err = os.Chown(dir, nobody, nobody)
	}
	var at *os.File
	if err == nil {
		at, err = os.Open(dir)
	}
	if err != nil {
		in.Close()
		return nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, at) // descriptor 4
	const reads, makes = "/proc/self/fd/3", "/proc/self/fd/4"
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C", "TMPDIR=" + makes}
	cmd.Args = append(cmd.Args, reads, makes+"/"+filepath.Base(to))
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	return func() error {
		in.Close()
		at.Close()
		return os.Lchown(dir, os.Geteuid(), os.Getegid()) // whoever is left cannot reach it
	}, nil
}

// runLimited runs a command with limits on its address space, its processor time
// and the size of the files it writes. The limits are set as soon as the process
// exists, before its dynamic loader is done, let alone it has read the image.
// It dies with this process.
func runLimited(cmd *exec.Cmd, output int64) error {
	// The death signal is sent when the thread that forked ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := limitProcess(cmd, output); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	return cmd.Wait()
}

// limitProcess sets the limits of a command that has just been started. The kernel lets
// that do who has the process's own user as its real one; root alone is not enough in
// a container. The system calls are those of this thread, which is locked: Go's own
// would change the whole process.
func limitProcess(cmd *exec.Cmd, output int64) (err error) {
	if c := cmd.SysProcAttr.Credential; c != nil {
		defer func() {
			if rerr := realUser(os.Geteuid(), os.Getegid()); err == nil {
				err = rerr
			}
		}()
		if err := realUser(int(c.Uid), int(c.Gid)); err != nil {
			return err
		}
	}
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_AS: convertMemory, unix.RLIMIT_CPU: convertCPU, unix.RLIMIT_FSIZE: uint64(output), unix.RLIMIT_CORE: 0,
	} {
		if err := unix.Prlimit(cmd.Process.Pid, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	return nil
}

// realUser sets this thread's real user and group, and nothing of what it may do.
func realUser(uid, gid int) error {
	const same = ^uintptr(0)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), same, same); e != 0 {
		return os.NewSyscallError("setresgid", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), same, same); e != 0 {
		return os.NewSyscallError("setresuid", e)
	}
	return nil
}
