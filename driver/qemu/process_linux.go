package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/shakenfist/cloud/driver/internal/host"
	"golang.org/x/sys/unix"
)

// child is a QEMU process held by its pidfd, started by us or by an earlier one.
type child struct {
	identity
	fd   *os.File // pidfd
	conn syscall.RawConn
}

// spawn starts a process in a session of its own, with files as descriptors 0, 1,
// 2 and so on. A uid of 0 keeps our user.
func spawn(binary string, args []string, files []*os.File, uid int, groups []uint32) (*child, error) {
	boot, err := host.BootID()
	if err != nil {
		return nil, err
	}
	pidfd := -1
	sys := &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	if uid != 0 {
		sys.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), Groups: groups}
	}
	p, err := os.StartProcess(binary, append([]string{filepath.Base(binary)}, args...), &os.ProcAttr{
		Dir: "/", Env: []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}, Files: files, Sys: sys,
	})
	if err != nil {
		return nil, err
	}
	defer p.Release() // we reap it by the pidfd
	start, err := startTime(p.Pid)
	if err != nil || pidfd < 0 {
		p.Kill()
		p.Wait()
		return nil, fmt.Errorf("cannot hold process %d by pidfd (Linux 5.4 is needed): %w", p.Pid, err)
	}
	return hold(pidfd, identity{PID: p.Pid, Start: start, BootID: boot})
}

// find opens a process that an earlier one started; nil if it is no more.
func find(id identity) (*child, error) {
	if boot, err := host.BootID(); err != nil || boot != id.BootID {
		return nil, err
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", id.PID, err)
	}
	// From here on the PID cannot become another process.
	start, err := startTime(id.PID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		start, err = 0, nil
	}
	if err != nil || start != id.Start {
		unix.Close(fd)
		return nil, err
	}
	c, err := hold(fd, id)
	if err == nil && c.ended() {
		c.wait()
		c.close()
		return nil, nil
	}
	return c, err
}

func hold(fd int, id identity) (*child, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := &child{identity: id, fd: os.NewFile(uintptr(fd), "pidfd")}
	var err error
	c.conn, err = c.fd.SyscallConn()
	return c, err
}

// wait returns when the process has ended, with what is known of how, or with an
// error when the child was closed. It reaps the process if it is ours.
func (c *child) wait() (string, error) {
	var how string
	err := c.conn.Read(func(fd uintptr) bool {
		if !pollIn(fd) {
			return false
		}
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED, nil); err == nil {
			how = describe(info)
		}
		return true
	})
	return how, err
}

func (c *child) ended() (yes bool) {
	c.conn.Control(func(fd uintptr) { yes = pollIn(fd) })
	return yes
}

func pollIn(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(p, 0)
	return n > 0
}

func describe(info unix.Siginfo) string {
	// si_status follows si_pid and si_uid at the start of the union.
	status := *siginfoStatus(&info)
	if info.Code == cldExited {
		return fmt.Sprintf("exit status %d", status)
	}
	return fmt.Sprintf("killed by signal %d (%s)", status, unix.SignalName(syscall.Signal(status)))
}

// kill ends the process whatever it does. One that is gone is nil.
func (c *child) kill() error {
	var err error
	c.conn.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err // or nil where the child was let go: its end has been seen
}

// close lets go of the process and makes wait return.
func (c *child) close() { c.fd.Close() }

// startTime is field 22 of /proc/PID/stat; the name before it may hold anything.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	start, err := parseStat(b)
	if err != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return start, nil
}

func parseStat(b []byte) (start uint64, err error) {
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return 0, errors.New("it is short")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// search looks through all processes for the one that writes its messages to a
// file: it is needed only when we died between starting a QEMU and writing its
// PID down.
func search(messages string) (identity, error) {
	boot, err := host.BootID()
	if err != nil {
		return identity{}, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return identity{}, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", pid)); err != nil || to != messages {
			continue
		}
		start, err := startTime(pid)
		switch {
		case err == nil:
			return identity{PID: pid, Start: start, BootID: boot}, nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH):
			return identity{}, err
		}
	}
	return identity{}, nil
}

// running are the users that have processes on this host.
func running() (map[int]bool, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	users := map[int]bool{}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		var st unix.Stat_t
		switch err := unix.Stat("/proc/"+e.Name(), &st); {
		case err == nil:
			users[int(st.Uid)] = true
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH):
			return nil, os.NewSyscallError("stat", err)
		}
	}
	return users, nil
}
