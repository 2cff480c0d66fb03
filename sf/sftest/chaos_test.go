package sftest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
)

// chaos is a cloud in trouble: an operator to whom things happen, and users who
// call it meanwhile through whatever process answers.
type chaos struct {
	s   *Sim
	ctx context.Context
	r   *rand.Rand

	namespaces, networks, instances, interfaces, snapshots []string

	did   map[string]int // acts that succeeded, by name
	users int            // that are not done yet
	err   error          // the first that a user should not have met
}

// act is one thing that is done; c is the process that is called, where it is a call.
type act struct {
	name   string
	weight int
	do     func(x *chaos, c *sf.Cloud) error
}

// Sizes of a chaos.
const (
	chaosUsers = 2
	callTime   = 30 * time.Second // after which a user gives up waiting
)

// inTrouble lets an operator and users do n random things each, then lets the cloud
// come to rest. With farewell it deletes everything after that, and looks for what is
// left behind.
func inTrouble(s *Sim, n int, farewell bool) (map[string]int, error) {
	x := &chaos{s: s, ctx: s.Context(1000 * time.Hour), r: s.Rand(), namespaces: []string{sf.System}, did: map[string]int{}}
	for _, p := range s.all() {
		if err := x.start(p); err != nil {
			return nil, err
		}
	}
	for u := range chaosUsers {
		x.users++
		s.Go(fmt.Sprintf("user-%d", u), func() {
			defer func() { x.users-- }()
			for range n {
				if err := x.use(); err != nil && x.err == nil {
					x.err = err
				}
			}
		})
	}
	for range n {
		if err := x.operate(); err != nil {
			return nil, err
		}
	}
	s.heal()
	s.yield(func() bool { return x.users == 0 || x.err != nil }, time.Time{})
	if x.err != nil {
		return nil, x.err
	}
	if err := s.settle(); err != nil || !farewell {
		return x.did, err
	}
	return x.did, x.farewell()
}

// start starts a process, unless it dies again at once.
func (x *chaos) start(p *SimNode) error {
	err := p.Start(x.ctx)
	if errors.Is(err, ErrKilled) || errors.Is(err, ErrInjected) {
		return nil
	}
	return err
}

// operate does one thing to the cloud, and sees whether its rules hold.
func (x *chaos) operate() error {
	a := x.draw(troubles)
	x.s.note("operator: " + a.name)
	if err := a.do(x, nil); err == nil {
		x.did[a.name]++
	} else if !expected(err) {
		return fmt.Errorf("%s: unexpected error: %w", a.name, err)
	}
	x.s.Sleep(time.Duration(x.r.IntN(3000)) * time.Millisecond)
	return errors.Join(x.err, x.s.check(false))
}

// use makes one call.
func (x *chaos) use() error {
	if x.err != nil {
		return nil // the run has failed
	}
	x.s.Sleep(time.Duration(x.r.IntN(4000)) * time.Millisecond)
	p := x.s.all()[x.r.IntN(len(x.s.all()))]
	if p.Dead() || p.frozen {
		return nil
	}
	a := x.draw(calls)
	x.s.note("user: " + a.name)
	if err := a.do(x, p.Cloud); err == nil {
		x.did[a.name]++
	} else if !expected(err) {
		return fmt.Errorf("%s by %s: unexpected error: %w", a.name, p.Name, err)
	}
	return nil
}

func (x *chaos) draw(acts []act) act {
	sum := 0
	for _, a := range acts {
		sum += a.weight
	}
	k := x.r.IntN(sum)
	for _, a := range acts {
		if k -= a.weight; k < 0 {
			return a
		}
	}
	panic("unreachable")
}

// one draws from a list.
func (x *chaos) one(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return list[x.r.IntN(len(list))]
}

// node draws a host.
func (x *chaos) node() *SimNode { return x.s.Nodes[x.r.IntN(len(x.s.Nodes))] }

// well draws a process that answers; nil if none does.
func (x *chaos) well() *sf.Cloud {
	var can []*SimNode
	for _, p := range x.s.all() {
		if !p.Dead() && !p.Impaired() {
			can = append(can, p)
		}
	}
	if len(can) == 0 {
		return nil
	}
	return can[x.r.IntN(len(can))].Cloud
}

// waiting is the context of a user who does not wait for ever.
func (x *chaos) waiting() context.Context { return x.s.Context(callTime) }

// errNobody: there is no process that answers.
var errNobody = fmt.Errorf("nobody answers: %w", ErrCut)

// expected are the errors that a user of a cloud in trouble may see.
func expected(err error) bool {
	for _, e := range []error{
		sf.ErrNotFound, sf.ErrInUse, sf.ErrNoCapacity, sf.ErrConflict, sf.ErrUnavailable, sf.ErrTimeout, sf.ErrInvalid, sf.ErrFailed,
		context.DeadlineExceeded, store.ErrCompacted, ErrCut, ErrKilled, ErrInjected, driver.ErrNoSpace,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// farewell deletes everything and says what is left of it.
func (x *chaos) farewell() error {
	c := x.s.Nodes[0].Cloud
	for _, n := range x.s.Nodes {
		if err := c.UncordonNode(x.ctx, n.Name); err != nil {
			return err
		}
	}
	namespaces, err := c.Namespaces(x.ctx)
	if err != nil {
		return err
	}
	for _, n := range namespaces {
		list, err := c.Snapshots(x.ctx, n.Name)
		if err != nil {
			return err
		}
		for _, s := range list {
			if err := c.DeleteSnapshot(x.ctx, s.UUID); err != nil && !errors.Is(err, sf.ErrNotFound) {
				return fmt.Errorf("at last: delete snapshot %s: %w", s.UUID, err)
			}
		}
	}
	instances, _, err := c.Instances(x.ctx, sf.ListOptions{All: true})
	if err != nil {
		return err
	}
	for _, i := range instances {
		if err := c.DeleteInstance(x.ctx, i.UUID); err != nil && !errors.Is(err, sf.ErrNotFound) {
			return fmt.Errorf("at last: delete instance %s: %w", i.UUID, err)
		}
		if _, err := c.WaitInstance(x.ctx, i.UUID, sf.InstanceGone); err != nil && !errors.Is(err, sf.ErrNotFound) {
			return fmt.Errorf("at last: %w", err)
		}
	}
	networks, _, err := c.Networks(x.ctx, sf.ListOptions{All: true})
	if err != nil {
		return err
	}
	for _, n := range networks {
		if err := c.DeleteNetwork(x.ctx, n.UUID); err != nil && !errors.Is(err, sf.ErrNotFound) {
			return fmt.Errorf("at last: delete network %s: %w", n.UUID, err)
		}
	}
	if err := x.s.settle(); err != nil {
		return fmt.Errorf("at last: %w", err)
	}
	for _, n := range namespaces {
		if n.Name == sf.System {
			continue
		}
		if err := c.DeleteNamespace(x.ctx, n.Name); err != nil && !errors.Is(err, sf.ErrNotFound) {
			return fmt.Errorf("at last: delete namespace %s: %w", n.Name, err)
		}
	}
	if err := x.s.empty(); err != nil {
		return err
	}
	x.s.Sleep(forgotten)
	return x.s.leftKeys()
}

// Times of a chaos' farewell.
const (
	deletedFor = time.Minute
	forgotten  = 20 * time.Minute // addresses have rested, and the janitor came by
)

// remain are the keys of a cloud in which there is nothing.
var remain = []string{
	"cloud", "namespace/system", "network/floating", "network-status/floating", "node/", "node-used/", "node-live/", "node-seen/", "node-joined/", "event/node/",
	"once/", "expire/", "work/", "member/",
	"node-image/", "image/", // what caches hold, which Invariants compares
}

// leftKeys says what the store has of a cloud from which everything was deleted.
func (s *Sim) leftKeys() error {
	list, err := s.Store.List(context.Background(), "", store.Page{})
	if err != nil {
		return err
	}
	var left []string
next:
	for _, r := range list.Records {
		for _, prefix := range remain {
			if strings.HasPrefix(r.Key, "sf/"+prefix) {
				continue next
			}
		}
		left = append(left, r.Key)
	}
	if len(left) > 0 {
		return fmt.Errorf("everything is deleted and forgotten, but for %s", strings.Join(left, ", "))
	}
	return nil
}
