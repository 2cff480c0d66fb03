//go:build linux

package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

var _ netfab.Watcher = (*Fabric)(nil)

// gather is for how long changes are collected before the host is looked at.
const gather = 50 * time.Millisecond

// watch is the sockets over which the kernel tells of changes, of all namespaces
// that have a number in the host's. (A socket in each would keep them alive.)
type watch struct {
	mu      sync.Mutex // one Changed at a time
	sockets [2]int     // rtnetlink and nftables
	names   int        // inotify on the directory of names
	mounts  int        // the host's table of mounts, which tells when it changes
	wake    int        // eventfd: an Apply is done, or the fabric closed
	numbers map[int32]uint32
	told    string // what was reported and not applied since; under the fabric's lock
	last    string // what was reported last, at lastAt
	lastAt  time.Time
	open    bool
	closed  bool
}

// again is how soon the same is reported again: who undoes at once what Apply does is
// not to keep it busy.
const again = time.Second

// dirt is what may have changed.
type dirt struct {
	host, all bool
	networks  map[uint32]bool // by VNI
}

// Changed waits until something of ours is not as it was applied or seen. Each
// burst of notifications is a look at what it was about: only what is different
// there from what is remembered counts, so that neither an Apply of ours nor the
// kernel's daily business is an alarm.
func (f *Fabric) Changed(ctx context.Context) error {
	f.watch.mu.Lock()
	defer f.watch.mu.Unlock()
	d := &dirt{networks: map[uint32]bool{}}
	if !f.watch.open {
		if err := f.openWatch(); err != nil {
			return fmt.Errorf("watch the host's networking: %w", err)
		}
		d.all = true
	}
	stop := context.AfterFunc(ctx, f.poke)
	defer stop()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.number(); err != nil {
			return fmt.Errorf("watch the host's networking: %w", err)
		}
		if d.host || d.all || len(d.networks) > 0 {
			drift, err := f.drifted(d)
			if err != nil {
				return err
			}
			if drift != "" {
				f.pace(ctx, drift)
				return nil
			}
			d = &dirt{networks: map[uint32]bool{}}
		}
		if err := f.await(ctx, d); err != nil {
			return fmt.Errorf("watch the host's networking: %w", err)
		}
	}
}

// Groups of notifications.
var watched = [2]struct {
	protocol int
	groups   []int
}{
	{unix.NETLINK_ROUTE, []int{unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_NSID,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_IFADDR}}, // the last ones tell of settings: forwarding, and IPv6 where it was off
	{unix.NETLINK_NETFILTER, []int{unix.NFNLGRP_NFTABLES}},
}

func (f *Fabric) openWatch() (err error) {
	w := &f.watch
	if w.closed {
		return os.ErrClosed
	}
	opened := []int{}
	defer func() {
		if err != nil {
			for _, fd := range opened {
				unix.Close(fd)
			}
		}
	}()
	for i, protocol := range watched {
		err := f.host.Do(func() (err error) { w.sockets[i], err = listen(protocol.protocol, protocol.groups); return err })
		if err != nil {
			return err
		}
		opened = append(opened, w.sockets[i])
	}
	if err := netns.PrepareDir(f.dir); err != nil {
		return fmt.Errorf("names of network namespaces: %w", err)
	}
	if w.names, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	opened = append(opened, w.names)
	if _, err := unix.InotifyAddWatch(w.names, f.dir, unix.IN_DELETE|unix.IN_MOVED_FROM); err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	if w.mounts, err = unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("/proc/self/mountinfo: %w", err)
	}
	opened = append(opened, w.mounts)
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	f.wake.Store(os.NewFile(uintptr(w.wake), "wake"))
	w.open = true
	return nil
}

// listen opens a socket for notifications of this namespace and of those that
// have a number in it.
func listen(protocol int, groups []int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return 0, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	for _, g := range groups {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g))
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("netlink notifications: %w", err)
	}
	return fd, nil
}

// poke has a waiting Changed look again at why it waits.
func (f *Fabric) poke() {
	if file := f.wake.Load(); file != nil {
		file.Write(binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// closeWatch ends a waiting Changed and closes what it waited for.
func (f *Fabric) closeWatch() {
	f.closing.Store(true)
	f.poke()
	w := &f.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if !w.open {
		return
	}
	w.open = false
	f.wake.Swap(nil).Close()
	for _, fd := range append(w.sockets[:], w.names, w.mounts) {
		unix.Close(fd)
	}
}

// number gives each network's namespace a number in the host's, without which the
// kernel tells nothing of it here.
func (f *Fabric) number() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing.Load() {
		return os.ErrClosed
	}
	conn, err := rt.Dial(f.host.Fd())
	if err != nil {
		return err
	}
	defer conn.Close()
	numbers := map[int32]uint32{}
	for id, k := range f.known {
		if !k.numbered { // since it was last made or looked at
			ns, err := netns.Open(f.path(k.network.VNI))
			if err != nil {
				continue // somebody removed it: the directory tells
			}
			k.number, err = conn.Number(ns.Fd())
			ns.Close()
			if err != nil {
				return err
			}
			k.numbered = true
			f.known[id] = k
		}
		numbers[k.number] = k.network.VNI
	}
	f.watch.numbers = numbers
	return nil
}

// pace has the same reported only so often. It waits no longer than that, whatever
// the clock says.
func (f *Fabric) pace(ctx context.Context, drift string) {
	w := &f.watch
	for range again / gather {
		if drift != w.last || f.now().Sub(w.lastAt) >= again || ctx.Err() != nil || f.closing.Load() {
			break
		}
		unix.Poll(nil, int(gather/time.Millisecond))
	}
	w.last, w.lastAt = drift, f.now()
}

// drifted looks at what may have changed and tells what has, "" for nothing new.
func (f *Fabric) drifted(d *dirt) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing.Load() {
		return "", os.ErrClosed
	}
	before, outside := maps.Clone(f.known), f.outside
	for id, k := range f.known {
		if d.all || d.networks[k.network.VNI] {
			k.since = time.Time{}
			f.known[id] = k
		}
	}
	if d.host || d.all {
		f.outside.since = time.Time{}
	}
	a, err := f.begin(netfab.Underlay{})
	if err != nil {
		return "", err
	}
	defer a.close()
	o, err := a.observe()
	if err != nil {
		return "", err
	}
	var what []string
	for id, was := range before {
		now, exists := f.known[id]
		if !exists || !reflect.DeepEqual(now.network, was.network) || now.underlay != was.underlay || len(now.damage) > 0 {
			what = append(what, netfab.Observed{Networks: []netfab.Network{now.network}, Damaged: map[string][]string{id: now.damage}}.String())
		}
	}
	if len(o.OutsideDamaged)+len(o.Stray) > 0 || !f.outside.is.Equal(outside.is) {
		what = append(what, netfab.Observed{Outside: o.Outside, OutsideDamaged: o.OutsideDamaged, Stray: o.Stray}.String())
	}
	text := strings.Join(sortedStrings(what), "")
	if text == f.watch.told {
		return "", nil
	}
	f.watch.told = text
	if text != "" {
		f.log.Debug("somebody changed what is ours", "now", text)
	}
	return text, nil
}
