package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shakenfist/cloud/netfab"
	"github.com/shakenfist/cloud/netfab/linux"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest/need"
	"github.com/shakenfist/cloud/sf/spec"
)

// TestHeal takes a running daemon's networking apart, thing by thing, as people
// with ip and nft do. Everything is made whole, most of it because the kernel told.
func TestHeal(t *testing.T) {
	l := newLab(t)
	need.Program(t, "nft", "nftables")
	ctx := timeout(t)
	l.start()
	n := l.network(ctx, "lan")
	want := spec.InstanceSpec{Name: "idle", CPUs: 1, MemoryMiB: 64, Disks: []spec.Disk{{SizeGB: 1}},
		Interfaces: []spec.InterfaceSpec{{Network: n.UUID, Float: true}}}
	made, err := l.client.CreateInstance(ctx, "", want)
	if err == nil {
		made, err = l.client.WaitInstance(ctx, made.UUID, client.InstanceCreated)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := newHealer(l, ctx, n.VNI)
	nic, err := l.client.InstanceInterfaces(ctx, made.UUID)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := ctx; !strings.Contains(h.text(), nic[0].Floating.String()); { // which is taken up within moments
		if deadline.Err() != nil {
			t.Fatalf("no floating address: %s", h.text())
		}
		time.Sleep(10 * time.Millisecond)
	}
	tap, segment, leg := netfab.TapName(nic[0].UUID), "sfo-"+h.short, fmt.Sprintf("sfv%s%06x", h.short, n.VNI)
	inside, host := h.inside, func(args string) func() { return func() { h.must(l.machine, args) } }
	for _, b := range []struct {
		name string
		hurt func()
	}{
		{"a tap is deleted", inside("ip link delete " + tap)},
		{"a tap is down", inside("ip link set " + tap + " down")},
		{"the bridge is deleted", inside("ip link delete br0")},
		{"the bridge has no address", inside("ip address flush dev br0")},
		{"there is no route", inside("ip route delete default")},
		{"a floating address is gone", inside("ip address delete " + nic[0].Floating.String() + "/32 dev out0")},
		{"the router's inner end is deleted", inside("ip link delete out0")},
		{"the router's outer end is deleted", host("ip link delete " + leg)},
		{"the filter is deleted", inside("nft delete table bridge sf")},
		{"the translations are deleted", inside("nft delete table ip sf")},
		{"the segment is deleted", host("ip link delete " + segment)},
		{"the segment has no address", host("ip address flush dev " + segment)},
		{"the host's rules are deleted", host("nft delete table inet sf-" + h.short)},
		{"the namespace is unmounted", func() { h.check(unix.Unmount(h.path, unix.MNT_DETACH)) }},
		{"the namespace is deleted", func() { h.check(unix.Unmount(h.path, unix.MNT_DETACH), os.Remove(h.path)) }},
		{"the router does not forward", inside("sh -c 0>/proc/sys/net/ipv4/ip_forward")},
	} {
		h.heals(b.name, b.hurt, true)
	}
	time.Sleep(500 * time.Millisecond) // for looks that are still due
	h.heals("a setting that nobody tells of", inside("sh -c 0>/proc/sys/net/ipv4/conf/all/arp_ignore"), false)
	t.Logf("the slowest was whole again after %v", h.slowest)

	// What was taken apart works: addresses, names, and the way out.
	late, err := l.client.CreateInstance(ctx, "", l.spec("late", spec.InterfaceSpec{Network: n.UUID}))
	if err != nil {
		t.Fatal(err)
	}
	l.booted(ctx, late.UUID)
	if out, status, err := l.console(ctx, late.UUID).Run(ctx, "ping -c 1 -W 5 "+beyond); err != nil || status != 0 {
		t.Errorf("a guest does not reach the world: %s, %v", out, err)
	}
}

// healer looks at a daemon's networking from outside of it.
type healer struct {
	*lab
	ctx     context.Context
	fabric  *linux.Fabric
	tag     string
	short   string
	path    string // of the network's namespace
	slowest time.Duration
}

func newHealer(l *lab, ctx context.Context, vni uint32) *healer {
	l.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, "data", identityName))
	if err != nil {
		l.Fatal(err)
	}
	var me identity
	if err := json.Unmarshal(data, &me); err != nil {
		l.Fatal(err)
	}
	h := &healer{lab: l, ctx: ctx, tag: me.tag(), short: netfab.ShortTag(me.tag())}
	names := filepath.Join(l.dir, "netns")
	h.path = filepath.Join(names, netfab.NamespaceName(me.tag(), vni))
	err = in(l.machine, func() (err error) {
		h.fabric, err = linux.New(linux.Config{Tag: me.tag(), NetNSDir: names})
		return err
	})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { h.fabric.Close() })
	return h
}

// text is the networking as it is; what is read while it is being made is none.
func (h *healer) text() string {
	o, err := h.fabric.Observe(h.ctx)
	if err != nil {
		return err.Error()
	}
	return o.String()
}

// told counts how often the daemon has noticed that somebody else changed something.
func (h *healer) told() int {
	data, err := os.ReadFile(h.log.Name())
	h.check(err)
	return strings.Count(string(data), "somebody changed what is ours")
}

func (h *healer) check(errs ...error) {
	h.Helper()
	for _, err := range errs {
		if err != nil {
			h.Fatal(err)
		}
	}
}

func (h *healer) must(ns *os.File, args string) {
	h.Helper()
	words := strings.Fields(args)
	if strings.HasPrefix(args, "sh -c 0>") { // a setting
		words = []string{"sh", "-c", "echo 0 > " + strings.TrimPrefix(args, "sh -c 0>")}
	}
	if out, err := h.run(ns, words[0], words[1:]...); err != nil {
		h.Fatalf("%s: %v: %s", args, err, out)
	}
}

// inside runs something in the network's namespace, as it is by then.
func (h *healer) inside(args string) func() {
	return func() {
		h.Helper()
		ns, err := os.Open(h.path)
		h.check(err)
		defer ns.Close()
		h.must(ns, args)
	}
}

// heals hurts the networking and waits until it is as before. Where the daemon is to
// notice by itself, a look that was due anyway may be there first; then it is hurt again.
func (h *healer) heals(name string, hurt func(), noticed bool) {
	h.Helper()
	before, told := h.text(), h.told()
	var start time.Time
	for range 5 {
		start = time.Now()
		hurt()
		if !noticed && h.text() == before {
			h.Errorf("%s: nothing is hurt", name)
		}
		for h.text() != before {
			if h.ctx.Err() != nil {
				h.Fatalf("%s: it stays so:\n%s\nbefore:\n%s", name, h.text(), before)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !noticed || h.told() != told {
			break
		}
	}
	if noticed && h.told() == told {
		h.Errorf("%s: it was mended, and not noticed", name)
	}
	took := time.Since(start)
	h.Logf("%s: whole after %v", name, took)
	h.slowest = max(h.slowest, took)
}
