package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver/drivertest/guest"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// kills is how often TestKill kills sfd, half of them while something is created
// and half while it is deleted. SF_KILL_ROUNDS sets another number.
const kills = 24

// TestKill kills sfd at random moments of creates and deletes and starts it
// again. What was acknowledged comes to be, what was deleted goes, nothing is left
// over, and a guest that runs all the while notices nothing.
func TestKill(t *testing.T) {
	rounds := kills / 2
	if n, err := strconv.Atoi(os.Getenv("SF_KILL_ROUNDS")); err == nil {
		rounds = n / 2
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("SF_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("SF_SEED=%d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))

	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute+time.Duration(rounds)*20*time.Second)
	defer cancel()
	l.start()
	w := newWitness(l, ctx)
	var k killer
	for range rounds {
		k.create(ctx, l, chance, w)
		k.delete(ctx, l, chance, w)
	}
	t.Logf("%d kills: %d creates and %d deletes were cut off before they were acknowledged", 2*rounds, k.lostCreates, k.lostDeletes)
	w.check(ctx)
	checkEnd(t, ctx, l)
}

// witness is a guest that runs from the beginning to the end.
type witness struct {
	l        *lab
	id       string
	pid      int
	bootID   string
	uptime   float64
	network  string // that it is on, by UUID
	networks int    // its own
}

func newWitness(l *lab, ctx context.Context) *witness {
	l.Helper()
	network := l.network(ctx, "old").UUID
	made, err := l.client.CreateInstance(ctx, "", l.spec("witness", spec.InterfaceSpec{Network: network}))
	if err != nil {
		l.Fatal(err)
	}
	l.booted(ctx, made.UUID)
	w := &witness{l: l, id: made.UUID, pid: l.machines()[made.UUID], network: network, networks: 1}
	c := l.console(ctx, w.id)
	w.bootID, w.uptime = w.ask(ctx, c)
	return w
}

// ask returns what tells a guest that was interrupted from one that was not.
func (w *witness) ask(ctx context.Context, c *guest.Console) (bootID string, uptime float64) {
	w.l.Helper()
	out, _, err := c.Run(ctx, "cat /proc/sys/kernel/random/boot_id /proc/uptime")
	words := strings.Fields(out)
	if err != nil || len(words) != 3 {
		w.l.Fatalf("the witness says %q, %v", out, err)
	}
	if uptime, err = strconv.ParseFloat(words[1], 64); err != nil {
		w.l.Fatal(err)
	}
	return words[0], uptime
}

// check asks the guest again, by the daemon that adopted it.
func (w *witness) check(ctx context.Context) {
	w.l.Helper()
	if pid := w.l.machines()[w.id]; pid != w.pid {
		w.l.Errorf("the witness's QEMU was process %d and is %d", w.pid, pid)
	}
	c := w.l.console(ctx, w.id)
	bootID, uptime := w.ask(ctx, c)
	if bootID != w.bootID || uptime <= w.uptime {
		w.l.Errorf("the witness was boot %s at %.1f s and is boot %s at %.1f s", w.bootID, w.uptime, bootID, uptime)
	}
	if out, status, err := c.Run(ctx, "ping -c 1 -W 5 "+beyond); err != nil || status != 0 {
		w.l.Errorf("the witness does not reach the world: %s, %v", out, err)
	}
}

// killer cuts calls off, and counts how many were never acknowledged.
type killer struct {
	round                    int
	network, instance        string // what the create made
	lostCreates, lostDeletes int
}

// Moments of a create, a delete and a start: some beyond their end, so that the
// end is among them.
const (
	createTakes = 400 * time.Millisecond
	deleteTakes = 300 * time.Millisecond
	startTakes  = 700 * time.Millisecond
)

// crash runs what is to be interrupted, kills sfd somewhere in the middle, and
// starts it again, sometimes not at the first attempt.
func crash(l *lab, chance *rand.Rand, longest time.Duration, act func() error) error {
	acted := make(chan error, 1)
	go func() { acted <- act() }()
	wait(chance, longest)
	l.kill()
	err := <-acted
	for chance.IntN(3) == 0 { // and again on the way up
		l.spawn()
		wait(chance, startTakes)
		l.kill()
	}
	l.start()
	return err
}

// wait picks a moment, early ones more often: that is where most steps are.
func wait(chance *rand.Rand, longest time.Duration) {
	u := chance.Float64()
	time.Sleep(time.Duration(u * u * float64(longest))) // the moment is what the test is about
}

// create makes a network and an instance on it and on the witness's, with a crash somewhere on the way.
func (k *killer) create(ctx context.Context, l *lab, chance *rand.Rand, w *witness) {
	l.Helper()
	k.round++
	name := fmt.Sprintf("round%d", k.round)
	k.network, k.instance = "", ""
	err := crash(l, chance, createTakes, func() error {
		n, err := l.client.CreateNetwork(ctx, "", spec.NetworkSpec{Name: name, Netblock: "10.1.0.0/24", DHCP: true, NAT: true})
		if err != nil {
			return err
		}
		k.network = n.UUID
		i, err := l.client.CreateInstance(ctx, "", l.spec(name, spec.InterfaceSpec{Network: n.UUID}, spec.InterfaceSpec{Network: w.network}))
		if err == nil {
			k.instance = i.UUID
		}
		return err
	})
	if err != nil {
		k.lostCreates++
	}
	k.find(ctx, l, name)
	if k.network != "" {
		if _, err := l.client.WaitNetwork(ctx, k.network, client.NetworkCreated); err != nil {
			l.Fatalf("round %d: %v", k.round, err)
		}
	}
	want, ports := []string{w.id}, 1
	if k.instance != "" {
		i, err := l.client.WaitInstance(ctx, k.instance, client.InstanceCreated)
		if err != nil || i.Status.Power != spec.PowerOn {
			l.Fatalf("round %d: %+v, %v", k.round, i.Status, err)
		}
		want, ports = append(want, k.instance), 3
	}
	networks := w.networks
	if k.network != "" {
		networks++
	}
	l.left(l.TB, want, networks, ports)
}

// find looks for what was made though its acknowledgement was lost; what was
// acknowledged must be there.
func (k *killer) find(ctx context.Context, l *lab, name string) {
	l.Helper()
	networks, err := l.client.Networks(ctx, false)
	if err != nil {
		l.Fatal(err)
	}
	instances, err := l.client.Instances(ctx, false)
	if err != nil {
		l.Fatal(err)
	}
	n := slices.IndexFunc(networks, func(n *spec.Network) bool { return n.Name == name })
	i := slices.IndexFunc(instances, func(i *spec.Instance) bool { return i.Name == name })
	if n < 0 && k.network != "" || i < 0 && k.instance != "" {
		l.Fatalf("round %d: network %q (%v) or instance %q (%v) was acknowledged and is lost", k.round, k.network, n >= 0, k.instance, i >= 0)
	}
	if n >= 0 {
		k.network = networks[n].UUID
	}
	if i >= 0 {
		k.instance = instances[i].UUID
	}
}

// delete deletes what create made, with a crash somewhere on the way.
func (k *killer) delete(ctx context.Context, l *lab, chance *rand.Rand, w *witness) {
	l.Helper()
	erase := func() error {
		if k.instance != "" {
			if err := l.client.DeleteInstance(ctx, k.instance); err != nil && spec.ClassOf(err) != spec.ErrNotFound {
				return err
			}
			if _, err := l.client.WaitInstance(ctx, k.instance, client.InstanceGone); err != nil {
				return err
			}
		}
		if k.network == "" {
			return nil
		}
		if err := l.client.DeleteNetwork(ctx, k.network); err != nil && spec.ClassOf(err) != spec.ErrNotFound {
			return err
		}
		_, err := l.client.WaitNetwork(ctx, k.network, client.NetworkGone)
		return err
	}
	if err := crash(l, chance, deleteTakes, erase); err != nil {
		k.lostDeletes++
	}
	if err := erase(); err != nil {
		l.Fatalf("round %d: delete: %v", k.round, err)
	}
	l.left(l.TB, []string{w.id}, w.networks, 1)
	if pid := l.machines()[w.id]; pid != w.pid {
		l.Fatalf("round %d: the witness's QEMU was process %d and is %d", k.round, w.pid, pid)
	}
	if files := entries(l.TB, filepath.Join(l.dir, "data", "image_cache", "tmp")); len(files) > 0 {
		l.Errorf("round %d: the image cache keeps %v", k.round, files)
	}
}
