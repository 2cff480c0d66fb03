package libvirtd

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// holderEnv tells a process that it is a Host's holder.
const holderEnv = "SF_LIBVIRTD_HOLDER"

// Main is to be called first in the main of a program that uses Start: the process
// that holds a host is this program again, and does not return.
func Main() {
	if parts := strings.Split(os.Getenv(holderEnv), ":"); len(parts) == 3 {
		os.Unsetenv(holderEnv)
		h := &holder{dir: parts[0], virtlogd: parts[1], libvirtd: parts[2]}
		h.serve()
		os.Exit(0)
	}
}

// holder is the process above the daemons, in namespaces of its own. It obeys
// lines on its standard input and ends everything at the input's end.
type holder struct {
	dir, virtlogd, libvirtd string

	daemon int // libvirtd's process
	gone   chan int
}

func (h *holder) serve() {
	// QEMUs are orphans by design. Where PID 1 is slow to reap them, libvirt waits
	// for processes that are dead already: here they come to us.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "libvirtd: subreaper:", err)
	}
	// An interrupt of the program reaches us too; the end of our input follows it.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
	h.gone = make(chan int, 1<<10)
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	go func() {
		for range died {
			h.reap()
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := h.obey(lines.Text()); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok")
		}
	}
	signal.Reset(syscall.SIGCHLD)
	h.end()
}

func (h *holder) reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		select {
		case h.gone <- pid:
		default: // nobody waits for that many
		}
	}
}

func (h *holder) obey(what string) error {
	switch what {
	case "prepare":
		if err := h.mounts(); err != nil {
			return err
		}
		return h.start("virtlogd", h.virtlogd, "-p", "/run/libvirt/virtlogd.pid")
	case "launch":
		return h.start("libvirtd", h.libvirtd, "-p", "/run/libvirt/libvirtd.pid")
	case "kill":
		if err := syscall.Kill(h.daemon, syscall.SIGKILL); err != nil {
			return err
		}
		for pid := range h.gone {
			if pid == h.daemon {
				return nil
			}
		}
	}
	return fmt.Errorf("unknown command %q", what)
}

// config is libvirt's for its QEMU driver. As nobody, a machine has only the
// files that libvirt gave it, as where it is installed; a container has neither
// security modules nor control groups for it, nor its own /dev.
const config = `
user = "nobody"
group = "nogroup"
security_driver = "none"
cgroup_controllers = []
namespaces = []
`

// mounts puts private directories over those that libvirt works with.
func (h *holder) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	for from, to := range directories {
		from = filepath.Join(h.dir, from)
		if err := errors.Join(os.MkdirAll(from, 0o755), os.MkdirAll(to, 0o755)); err != nil {
			return err
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", to, err)
		}
	}
	// The old /sys shows the interfaces of another network namespace.
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount /sys: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := errors.Join(h.users(), h.kvm()); err != nil {
		return err
	}
	return os.WriteFile("/etc/libvirt/qemu.conf", []byte(config), 0o644)
}

// users adds to this mount namespace's accounts the one that libvirt wants to
// exist, which only the packages that also start services make.
func (h *holder) users() error {
	for name, line := range map[string]string{
		"passwd": "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin\n", "group": "libvirt-qemu:x:64055:\n",
	} {
		path, copied := "/etc/"+name, filepath.Join(h.dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains("\n"+string(text), "\nlibvirt-qemu:") {
			continue
		}
		if err := os.WriteFile(copied, append(text, line...), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(copied, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", path, err)
		}
	}
	return nil
}

// kvm lets everybody open /dev/kvm. Where the user of the QEMUs cannot, libvirt
// finds that its knowledge of QEMU is out of date each time it looks.
func (h *holder) kvm() error {
	var st unix.Stat_t
	if err := unix.Stat("/dev/kvm", &st); err != nil {
		return nil // there is none
	}
	node := filepath.Join(h.dir, "kvm")
	os.Remove(node) // an earlier holder's
	if err := unix.Mknod(node, unix.S_IFCHR, int(st.Rdev)); err != nil {
		return fmt.Errorf("make %s: %w", node, err)
	}
	if err := os.Chmod(node, 0o666); err != nil {
		return err
	}
	if err := unix.Mount(node, "/dev/kvm", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind /dev/kvm: %w", err)
	}
	return nil
}

func (h *holder) start(name, path string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(h.dir, name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(path, append([]string{name}, args...), &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if name == "libvirtd" {
		h.daemon = pid
	}
	return nil
}

// end kills all processes below this one. Children of the dead become ours.
func (h *holder) end() {
	for {
		for _, pid := range children() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}

func children() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, text := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(text); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
