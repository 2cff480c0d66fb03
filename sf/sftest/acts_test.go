package sftest

import (
	"errors"
	"fmt"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
)

// calls are what users do.
var calls = []act{
	{"create namespace", 1, func(x *chaos, c *sf.Cloud) error {
		name := fmt.Sprintf("tenant%d", 1+x.r.IntN(3))
		err := c.CreateNamespace(x.ctx, name)
		if err == nil {
			x.namespaces = append(x.namespaces, name)
		}
		return err
	}},
	{"delete namespace", 1, func(x *chaos, c *sf.Cloud) error {
		name := x.one(x.namespaces)
		if name == sf.System {
			return nil
		}
		return c.DeleteNamespace(x.ctx, name)
	}},
	{"create network", 4, func(x *chaos, c *sf.Cloud) error {
		made, err := c.CreateNetwork(x.ctx, x.one(x.namespaces), sf.NetworkSpec{
			Netblock: "10.0.0.0/29", DHCP: true, NAT: x.r.IntN(2) == 0, IdempotencyKey: x.key(),
		})
		if err == nil {
			x.networks = append(x.networks, made.UUID)
		}
		return err
	}},
	{"create instance", 10, createInstance},
	{"delete instance", 5, func(x *chaos, c *sf.Cloud) error { return c.DeleteInstance(x.ctx, x.one(x.instances)) }},
	{"delete network", 3, func(x *chaos, c *sf.Cloud) error { return c.DeleteNetwork(x.ctx, x.one(x.networks)) }},
	{"power", 5, func(x *chaos, c *sf.Cloud) error {
		want := []sf.PowerState{sf.PowerOn, sf.PowerOff, sf.PowerPaused}[x.r.IntN(3)]
		i, err := c.SetPower(x.ctx, x.one(x.instances), want)
		if err == nil && x.r.IntN(2) == 0 {
			_, err = c.WaitInstance(x.waiting(), i.UUID, sf.PowerSettled(i.Power.Generation))
		}
		return err
	}},
	{"reboot", 3, func(x *chaos, c *sf.Cloud) error {
		op, err := c.Reboot(x.ctx, x.one(x.instances), x.r.IntN(2) == 0)
		if err == nil && x.r.IntN(2) == 0 {
			_, err = c.WaitOperation(x.waiting(), op)
		}
		return err
	}},
	{"snapshot", 3, func(x *chaos, c *sf.Cloud) error {
		made, _, err := c.Snapshot(x.ctx, x.one(x.instances), x.r.IntN(2) == 0)
		if err == nil {
			x.snapshots = append(x.snapshots, made.UUID)
		}
		return err
	}},
	{"delete snapshot", 2, func(x *chaos, c *sf.Cloud) error { return c.DeleteSnapshot(x.ctx, x.one(x.snapshots)) }},
	{"float", 4, func(x *chaos, c *sf.Cloud) error {
		_, err := c.Float(x.ctx, x.one(x.interfaces), "")
		return err
	}},
	{"defloat", 2, func(x *chaos, c *sf.Cloud) error { return c.Defloat(x.ctx, x.one(x.interfaces)) }},
	{"metadata", 2, func(x *chaos, c *sf.Cloud) error {
		return c.SetMetadata(x.ctx, sf.KindInstance, x.one(x.instances), "k", x.r.IntN(100))
	}},
	{"look", 3, func(x *chaos, c *sf.Cloud) error {
		_, _, err := c.Instances(x.ctx, sf.ListOptions{All: x.r.IntN(2) == 0})
		if err == nil {
			_, err = c.InstanceInterfaces(x.ctx, x.one(x.instances))
		}
		return err
	}},
}

// key is an idempotency key, now and then one that was used before.
func (x *chaos) key() string {
	if x.r.IntN(3) > 0 {
		return ""
	}
	return fmt.Sprintf("key%d", x.r.IntN(5))
}

func createInstance(x *chaos, c *sf.Cloud) error {
	want := sf.InstanceSpec{Name: "i", CPUs: 1 + x.r.IntN(4), MemoryMiB: 512, Disks: []sf.Disk{{Base: "http://images/a", SizeGB: 2}}, IdempotencyKey: x.key()}
	for range x.r.IntN(3) {
		want.Interfaces = append(want.Interfaces, sf.InterfaceSpec{Network: x.one(x.networks), Float: x.r.IntN(6) == 0})
	}
	switch x.r.IntN(7) {
	case 6:
		want.Disks[0].Base = "snapshot:" + x.one(x.snapshots)
	case 0:
		want.PlacedOn = x.node().Name
	case 1:
		want.Metadata = sf.Metadata{"tags": []any{"web"}, "affinity": map[string]any{"web": float64(x.r.IntN(3) - 1)}}
	case 2:
		want.UserData = []byte("x")
	}
	made, err := c.CreateInstance(x.ctx, x.one(x.namespaces), want)
	if err != nil {
		return err
	}
	x.instances = append(x.instances, made.UUID)
	for _, nic := range made.NICs {
		x.interfaces = append(x.interfaces, nic.UUID)
	}
	if x.r.IntN(2) == 0 {
		_, err = c.WaitInstance(x.waiting(), made.UUID, sf.InstanceCreated)
	}
	return err
}

// troubles are what happens to an operator, and what operators do about it.
var troubles = []act{
	{"time passes", 6, func(x *chaos, _ *sf.Cloud) error {
		x.s.Sleep(time.Duration(x.r.IntN(20)) * time.Second)
		return nil
	}},
	{"start what is dead", 14, func(x *chaos, _ *sf.Cloud) error {
		for _, p := range x.s.all() {
			if p.Dead() && x.r.IntN(3) > 0 {
				if err := x.start(p); err != nil {
					return err
				}
			}
		}
		return nil
	}},
	{"heal what is impaired", 10, func(x *chaos, _ *sf.Cloud) error {
		for _, p := range x.s.all() {
			if x.r.IntN(3) > 0 {
				p.Freeze(false)
				p.Mend()
			}
		}
		return nil
	}},
	{"kill", 3, func(x *chaos, _ *sf.Cloud) error { x.any().Kill(); return nil }},
	{"freeze", 2, func(x *chaos, _ *sf.Cloud) error { x.any().Freeze(true); return nil }},
	{"cut from the store", 2, func(x *chaos, _ *sf.Cloud) error { x.any().Cut(false); return nil }},
	{"isolate", 2, func(x *chaos, _ *sf.Cloud) error { x.any().Cut(true); return nil }},
	{"a session lapses", 2, func(x *chaos, _ *sf.Cloud) error { x.node().Lapse(); return nil }},
	{"partition", 2, func(x *chaos, _ *sf.Cloud) error {
		var side []*SimNode
		for _, p := range x.s.Nodes {
			if !p.Dead() && x.r.IntN(2) == 0 {
				side = append(side, p)
			}
		}
		x.s.Part(side...)
		x.s.Sleep(time.Duration(x.r.IntN(60)) * time.Second)
		return nil
	}},
	{"store outage", 1, func(x *chaos, _ *sf.Cloud) error {
		for _, p := range x.s.all() {
			p.Cut(false)
		}
		x.s.Sleep(time.Duration(x.r.IntN(90)) * time.Second)
		for _, p := range x.s.all() {
			p.Mend()
		}
		return nil
	}},
	{"compact", 1, func(x *chaos, _ *sf.Cloud) error {
		now, err := x.s.Store.List(x.ctx, "sf/cloud", store.Page{})
		if err == nil {
			err = x.s.Store.Compact(x.ctx, now.Revision)
			x.s.records++
		}
		return err
	}},
	{"disturb a host", 5, func(x *chaos, _ *sf.Cloud) error { x.s.disturb(x.node(), x.one(x.instances)); return nil }},
	{"lose a node", 3, loseNode},
	{"host off", 2, hostOff},
	{"recover all", 3, func(x *chaos, _ *sf.Cloud) error {
		// Nearly always all are refused, as they should be; what counts is how many were
		// recovered by anybody.
		if err := x.recoverAll(func(*sf.Instance) bool { return true }, false); !errors.Is(err, errNobody) {
			return err
		}
		return nil
	}},
	{"force delete", 2, func(x *chaos, _ *sf.Cloud) error {
		return x.byOperator(func(c *sf.Cloud) error { return c.ForceDeleteInstance(x.ctx, x.one(x.instances)) })
	}},
	{"drain", 3, func(x *chaos, _ *sf.Cloud) error {
		return x.byOperator(func(c *sf.Cloud) error {
			_, err := c.DrainNode(x.s.Context(time.Minute), x.node().Name, sf.DrainOptions{Recover: x.r.IntN(2) == 0, Ask: 10 * time.Second})
			return err
		})
	}},
	{"cordon", 1, func(x *chaos, _ *sf.Cloud) error {
		return x.byOperator(func(c *sf.Cloud) error { return c.CordonNode(x.ctx, x.node().Name) })
	}},
	{"uncordon", 5, func(x *chaos, _ *sf.Cloud) error {
		return x.byOperator(func(c *sf.Cloud) error { return c.UncordonNode(x.ctx, x.node().Name) })
	}},
	{"remove a node", 2, func(x *chaos, _ *sf.Cloud) error {
		return x.byOperator(func(c *sf.Cloud) error { return c.RemoveNode(x.ctx, x.node().Name) })
	}},
}

// any draws a process.
func (x *chaos) any() *SimNode { return x.s.all()[x.r.IntN(len(x.s.all()))] }

// byOperator calls whatever process answers.
func (x *chaos) byOperator(call func(*sf.Cloud) error) error {
	c := x.well()
	if c == nil {
		return errNobody
	}
	return call(c)
}

// loseNode takes a node away until its guard has struck, and starts its instances
// elsewhere.
func loseNode(x *chaos, _ *sf.Cloud) error {
	n := x.loaded()
	if err := x.tend(n); err != nil {
		return err
	}
	switch x.r.IntN(3) {
	case 0:
		n.Kill()
	case 1:
		n.Freeze(true)
	case 2:
		n.Cut(true)
	}
	for range 4 + x.r.IntN(6) { // every ten seconds all look who is there, as daemons do
		x.s.Sleep(10 * time.Second)
		for _, p := range x.s.all() {
			if !p.Dead() && !p.Impaired() {
				_, _ = p.Cloud.Nodes(x.ctx)
			}
		}
	}
	return x.recoverAll(func(i *sf.Instance) bool { return i.Node == n.Name }, false)
}

// hostOff is a host without power, and somebody who knows that.
func hostOff(x *chaos, _ *sf.Cloud) error {
	n := x.loaded()
	if err := x.tend(n); err != nil {
		return err
	}
	n.Kill()
	n.Machine.Reboot()
	x.s.Sleep(ttl + time.Duration(x.r.IntN(5))*time.Second)
	return x.recoverAll(func(i *sf.Instance) bool { return i.Node == n.Name }, true)
}

// loaded draws a host that has instances, if there is one.
func (x *chaos) loaded() *SimNode {
	if c := x.well(); c != nil {
		if list, _, err := c.Instances(x.ctx, sf.ListOptions{}); err == nil && len(list) > 0 {
			if n := x.s.node(list[x.r.IntN(len(list))].Node); n != nil {
				return n
			}
		}
	}
	return x.node()
}

// tend has all but one node be there and take instances, mostly: else nobody could take over from
// that one.
func (x *chaos) tend(lost *SimNode) error {
	if x.r.IntN(4) == 0 {
		return nil
	}
	for _, p := range x.s.all() {
		if p == lost {
			continue
		}
		p.Freeze(false)
		p.Mend()
		if p.Dead() {
			if err := x.start(p); err != nil {
				return err
			}
		}
		if p.Machine != nil && x.r.IntN(2) == 0 {
			if err := x.byOperator(func(c *sf.Cloud) error { return c.UncordonNode(x.ctx, p.Name) }); err != nil && !expected(err) {
				return err
			}
		}
	}
	return nil
}

// recoverAll starts instances elsewhere, as far as that is allowed; it says so where
// it was for none.
func (x *chaos) recoverAll(which func(*sf.Instance) bool, fenced bool) error {
	return x.byOperator(func(c *sf.Cloud) error {
		list, _, err := c.Instances(x.ctx, sf.ListOptions{})
		if err != nil {
			return err
		}
		last := errNobody
		for _, i := range list {
			if !which(i) {
				continue
			}
			_, err := c.RecoverInstance(x.ctx, i.UUID, fenced)
			switch {
			case err == nil && fenced:
				x.s.byWord++
				last = nil
			case err == nil:
				x.s.recovered++
				last = nil
			case !expected(err):
				return err
			case errors.Is(err, ErrKilled), errors.Is(err, ErrCut):
				return err
			}
		}
		return last
	})
}

// disturb does something to a host or a guest behind the cloud's back.
func (s *Sim) disturb(n *SimNode, instance string) {
	switch s.rng.IntN(5) {
	case 0:
		_ = n.Machine.Shutdown(instance)
	case 1:
		_ = n.Machine.Crash(instance, "out of memory")
	case 2:
		n.Machine.Fill()
	case 3:
		n.Machine.MakeRoom()
	case 4:
		n.Kill()
		n.Machine.Reboot()
	}
}
