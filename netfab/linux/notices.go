//go:build linux

package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab/linux/internal/netns"
	"github.com/shakenfist/cloud/netfab/linux/internal/rt"
)

// await waits for notifications, collects those that follow at once, and notes
// what they are about.
func (f *Fabric) await(ctx context.Context, d *dirt) error {
	w := &f.watch
	timeout := -1
	for {
		fds := []unix.PollFd{}
		for _, fd := range append(w.sockets[:], w.names, w.wake) {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		fds = append(fds, unix.PollFd{Fd: int32(w.mounts), Events: unix.POLLPRI})
		n, err := unix.Poll(fds, timeout)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return nil
		}
		for i, fd := range w.sockets {
			if fds[i].Revents != 0 {
				if err := f.drain(fd, i == 1, d); err != nil {
					return err
				}
			}
		}
		buf := make([]byte, 1<<12)
		if fds[2].Revents != 0 {
			unix.Read(w.names, buf)
			d.all = true
		}
		if fds[3].Revents != 0 {
			unix.Read(w.wake, buf)
			if ctx.Err() != nil || f.closing.Load() {
				return nil
			}
			timeout = 0 // new networks get their numbers at once
		}
		if fds[4].Revents != 0 {
			f.noteNames(d)
		}
		if timeout < 0 && (d.host || d.all || len(d.networks) > 0) {
			timeout = int(gather / time.Millisecond)
			unix.Poll(nil, timeout)
			timeout = 0
		}
	}
}

// noteNames looks for networks whose namespaces have lost their names. A namespace
// that is unmounted may live on, held by a server of ours in it: then nothing else
// tells.
func (f *Fabric) noteNames(d *dirt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.known {
		if vni := k.network.VNI; !netns.Named(f.path(vni)) {
			d.networks[vni] = true
		}
	}
}

// drain reads what a socket has.
func (f *Fabric) drain(fd int, nftables bool, d *dirt) error {
	buf, oob := make([]byte, 1<<16), make([]byte, 64)
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ENOBUFS): // some were lost
			d.all = true
			continue
		case err != nil:
			return err
		}
		vni, ours, host := f.origin(oob[:oobn])
		switch {
		case host:
			f.noteHost(buf[:n], nftables, d)
		case ours && relevant(buf[:n], nftables):
			d.networks[vni] = true
		}
	}
}

// origin tells from which namespace a notification comes.
func (f *Fabric) origin(oob []byte) (vni uint32, ours, host bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false, true
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			vni, ours = f.watch.numbers[int32(binary.NativeEndian.Uint32(m.Data))]
			return vni, ours, false
		}
	}
	return 0, false, true
}

// each calls do for the type and the body of each message in a datagram.
func each(b []byte, do func(kind uint16, body []byte)) {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return
		}
		do(binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

// relevant leaves out neighbours that the kernel finds and forgets by itself.
func relevant(b []byte, nftables bool) (yes bool) {
	each(b, func(kind uint16, body []byte) {
		if nftables || kind != unix.RTM_NEWNEIGH || len(body) < unix.SizeofNdMsg {
			yes = true
			return
		}
		state := binary.NativeEndian.Uint16(body[8:])
		yes = yes || state&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0
	})
	return yes
}

// noteHost sorts a notification of the host's own namespace, where much is not
// ours.
func (f *Fabric) noteHost(b []byte, nftables bool, d *dirt) {
	if !relevant(b, nftables) {
		return
	}
	each(b, func(kind uint16, body []byte) {
		if nftables || kind != unix.RTM_NEWLINK && kind != unix.RTM_DELLINK {
			d.host = true
			return
		}
		name := rt.NameOf(body)
		if vni, ok := f.names.uplinkVNI(name); ok {
			d.networks[vni] = true
			return
		}
		f.mu.Lock()
		uplink := f.outside.is.Uplink
		f.mu.Unlock()
		if name == uplink || strings.HasPrefix(name, f.names.fenced()) || name == f.names.outside() {
			d.host = true
		}
	})
}
