package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/cmd/sfd/internal/doctor"
	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/libvirt"
	"github.com/shakenfist/cloud/driver/qemu"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/store"
)

// examine says how the host is. A check returns how things are, and an error for
// what is wrong.
func (p *patient) examine(ctx context.Context, s doctor.Snapshot) []doctor.Check {
	checks := []struct {
		name  string
		check func() (string, error)
	}{
		{"records", func() (string, error) { return p.checkRecords(s) }},
		{"host", func() (string, error) { return "it has what sfd needs", checkHost(p.c) }},
		{"kernel", func() (string, error) { return p.checkKernel(ctx) }},
		{"machines", func() (string, error) { return p.checkMachines(ctx) }},
		{"disk", p.checkDisk},
		{"clock", p.checkClock},
		{"other sfd", func() (string, error) { return p.checkOthers(ctx, s) }},
		{"client file", p.checkClientFile},
		{"ports", func() (string, error) { return p.checkPorts(s) }},
	}
	var all []doctor.Check
	note := func(name, text string, err error) {
		if err != nil {
			text = strings.TrimPrefix(err.Error(), name+": ")
		}
		all = append(all, doctor.Check{Name: name, Wrong: err != nil, Text: text})
	}
	for _, c := range checks {
		text, err := c.check()
		note(c.name, text, err)
	}
	for _, endpoint := range p.c.etcd.endpoints {
		text, err := p.checkMember(ctx, endpoint)
		note("etcd "+endpoint, text, err)
	}
	return all
}

func (p *patient) checkRecords(s doctor.Snapshot) (string, error) {
	where := p.c.path(storeName)
	if p.c.shared() {
		where = "etcd"
	}
	switch {
	case p.first():
		return "none yet: sfd founds a cloud when it starts", nil
	case p.err != nil:
		return "", p.err
	case s.Cloud == "":
		return "", fmt.Errorf("%s does not say whose this host is: start sfd once", p.c.path(identityName))
	}
	instances, networks := 0, 0
	for _, i := range s.Records.Instances {
		if i.Node == s.Node && !i.Gone {
			instances++
		}
	}
	for _, n := range s.Records.Networks {
		if n.Here {
			networks++
		}
	}
	return fmt.Sprintf("%s; they name %s and %s of this node", where, count(instances, "instance"), count(networks, "network")), nil
}

// first reports whether no sfd has ever run over the data directory.
func (p *patient) first() bool {
	_, err := os.Stat(p.c.path(storeName))
	return p.known.Cloud == "" && !p.c.shared() && errors.Is(err, fs.ErrNotExist)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// checkMember asks one member of etcd alone.
func (p *patient) checkMember(ctx context.Context, endpoint string) (string, error) {
	one := *p.c
	one.etcd.endpoints = []string{endpoint}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := openAnyStore(ctx, &one, quietly())
	if err != nil {
		return "", err
	}
	defer s.Close()
	if _, err := s.List(ctx, "", store.Page{Limit: 1}); err != nil {
		return "", err
	}
	return "answers", nil
}

func (p *patient) checkKernel(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "sfd-doctor-")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	if err := probeKernel(ctx, filepath.Join(dir, "probe"), p.c.nodeIP.IsValid()); err != nil {
		return "", err
	}
	return "it makes all that networks need", nil
}

// checkMachines opens the hypervisor beside the one that the running sfd has open.
func (p *patient) checkMachines(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "sfd-doctor-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	var h driver.Hypervisor
	if p.c.virt == "libvirt" {
		h, err = libvirt.New(ctx, libvirt.Config{Dir: dir, Socket: p.c.libvirtSocket, Owner: "doctor of " + p.tag, Accel: p.c.accel})
	} else {
		h, err = qemu.New(ctx, qemu.Config{Dir: dir, Binary: p.c.qemu, Accel: p.c.accel, UIDBase: p.c.uidBase, Cgroup: "none"})
	}
	if err != nil {
		return "", err
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(ctx, libvirtPatience)
	defer cancel()
	info, err := h.Info(ctx)
	if err != nil {
		return "", err
	}
	if !slices.Contains(info.Buses, p.c.diskBus) {
		return "", fmt.Errorf("--disk-bus %s: this hypervisor has only %s", p.c.diskBus, strings.Join(info.Buses, ", "))
	}
	return fmt.Sprintf("%s %s on %s: %s", info.Driver, info.Version, info.Accel, info.AccelReason), onlyHypervisor(p.c)
}

func (p *patient) checkDisk() (string, error) {
	var st unix.Statfs_t
	dir := p.c.dataDir
	err := unix.Statfs(dir, &st)
	for p.first() && errors.Is(err, fs.ErrNotExist) && dir != "/" { // where it would be made
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.c.dataDir, err)
	}
	free, all := int64(st.Bavail)*int64(st.Bsize), int64(st.Blocks)*int64(st.Bsize)
	want := min(int64(p.c.minFreeDisk)<<30, all/10)
	text := fmt.Sprintf("%.1f of %.1f GiB are free in %s", float64(free)/(1<<30), float64(all)/(1<<30), dir)
	if free < want {
		return "", fmt.Errorf("%s, less than the %.1f that should be: make room, or delete instances and snapshots", text, float64(want)/(1<<30))
	}
	if st.Ffree == 0 && st.Files > 0 {
		return "", fmt.Errorf("%s has no inodes left: remove files", p.c.dataDir)
	}
	return text, nil
}

// checkClock holds the clock against what was written earlier, and asks the kernel
// whether anybody sets it.
func (p *patient) checkClock() (string, error) {
	now := time.Now()
	for _, name := range []string{identityName, storeName} {
		if st, err := os.Stat(p.c.path(name)); err == nil && st.ModTime().After(now.Add(time.Minute)) {
			return "", fmt.Errorf("it is %s, but %s was written at %s: set the clock", now.UTC().Format(time.RFC3339), st.Name(), st.ModTime().UTC().Format(time.RFC3339))
		}
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state != unix.TIME_ERROR {
		return "it is set by a time server", nil
	}
	return "nobody keeps it right: run an NTP client, such as chrony, where times of several machines are compared", nil
}

// checkOthers looks for an sfd that should not be.
func (p *patient) checkOthers(ctx context.Context, s doctor.Snapshot) (string, error) {
	switch {
	case s.Running > 0:
		return fmt.Sprintf("none but process %d, which runs over %s", s.Running, p.c.dataDir), nil
	case s.Running < 0:
		return "", fmt.Errorf("one runs, but %s does not say which", p.c.path(lockName))
	case s.Tag == "":
		return "none", nil
	}
	l, err := lockHost(ctx, s.Tag)
	if err != nil {
		return "", err
	}
	return "none", l.Close()
}

func (p *patient) checkClientFile() (string, error) {
	path := p.c.clientFile
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && p.first() {
		return "none yet", nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no %s: sfd makes one when it starts, and so does sfd key set system NAME --write-client-file", path)
	}
	if err != nil {
		return "", err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %04o, and the key of system is in it: chmod 600", path, st.Mode().Perm())
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
		return "", fmt.Errorf("%s belongs to user %d: chown root", path, sys.Uid)
	}
	f, err := client.ReadFile(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is root's alone, for namespace %s at %s", path, f.Namespace, f.URL), nil
}

// checkPorts holds what should listen against what does.
func (p *patient) checkPorts(s doctor.Snapshot) (string, error) {
	if s.Running == 0 {
		for _, address := range p.listens() {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return "", fmt.Errorf("sfd could not listen: %w", err)
			}
			l.Close()
		}
		return "those that sfd needs are free", nil
	}
	open, err := listening()
	if err != nil || s.Records == nil {
		return "", err
	}
	raw := 0
	for id, i := range s.Records.Instances {
		for _, port := range i.Ports {
			if i.Node != s.Node || i.Gone {
				continue
			}
			if !open[port] {
				return "", fmt.Errorf("port %d of instance %s (%s) is not open", port, i.Name, id)
			}
			raw++
		}
	}
	return count(raw, "raw port") + " of instances, all open", nil
}

// listens are the addresses that sfd listens on.
func (p *patient) listens() []string {
	all := []string{p.c.listen()}
	if p.c.nodeIP.IsValid() {
		all = append(all, net.JoinHostPort(p.c.nodeIP.String(), fmt.Sprint(p.c.peerPort)))
	}
	return all
}

// listening returns the TCP ports of this network namespace that somebody listens on.
func listening() (map[int]bool, error) {
	open := map[int]bool{}
	for _, name := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			var port int
			if len(f) > 3 && f[3] == "0A" {
				if _, err := fmt.Sscanf(f[1][strings.LastIndexByte(f[1], ':')+1:], "%X", &port); err == nil {
					open[port] = true
				}
			}
		}
	}
	return open, nil
}
