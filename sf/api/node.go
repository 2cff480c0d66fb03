package api

import (
	"context"
	"errors"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

var errNodeNotFound = notFound("node not found")

func (q *request) listNodes() (any, error) {
	nodes, err := q.cloud.Nodes(q.ctx())
	out := make([]nodeWire, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, wireNode(n))
	}
	if err != nil {
		return nil, err
	}
	return listed(q, out, func(n nodeWire) string { return n.Name })
}

// node is the name of the node in the path.
func (q *request) node() string { return q.path("node") }

// cordonNode makes a node take nothing new.
func (q *request) cordonNode() (any, error) {
	return nil, or(q.cloud.CordonNode(q.lasting(), q.node()), errNodeNotFound)
}

func (q *request) uncordonNode() (any, error) {
	return nil, or(q.cloud.UncordonNode(q.lasting(), q.node()), errNodeNotFound)
}

// drainNode empties a node. A caller that hangs up ends it where it is: it can be
// repeated. For one who does not wait it goes on behind the answer.
func (q *request) drainNode() (any, error) {
	ask := q.args.number("ask")
	opt := sf.DrainOptions{Recover: q.args.flag("recover"), Ask: time.Duration(ask) * time.Second}
	if q.args.given("ask") && ask == 0 {
		opt.Ask = -1
	}
	if ask < 0 || ask > 3600 {
		q.args.fail("ask should be a number of seconds up to 3600, not %d", ask)
	}
	if q.args.err != nil {
		return nil, q.args.err
	}
	q.doneReading()
	if q.asked("async") {
		name := q.node()
		if err := q.cloud.CordonNode(q.lasting(), name); err != nil {
			return nil, or(err, errNodeNotFound)
		}
		return nil, q.later("drain node "+name, func(ctx context.Context, begun func()) error {
			begun()
			drained, err := q.cloud.DrainNode(ctx, name, opt)
			if err == nil {
				q.Logger.Info("a node was drained", "node", name, "routers", drained.Routers, "recovered", drained.Recovered, "remains", drained.Remains)
			}
			return err
		})
	}
	drained, err := q.cloud.DrainNode(q.ctx(), q.node(), opt)
	if err != nil {
		return nil, or(err, errNodeNotFound)
	}
	return drained, nil
}

// removeNode forgets a node that will not return.
func (q *request) removeNode() (any, error) {
	return nil, or(q.cloud.RemoveNode(q.lasting(), q.node()), errNodeNotFound)
}

// recoverInstance starts an instance of a node that is away on another.
func (q *request) recoverInstance() (any, error) {
	fenced := q.args.flag("fenced")
	if q.args.err != nil {
		return nil, q.args.err
	}
	i, err := q.cloud.RecoverInstance(q.lasting(), q.path("instance_uuid"), fenced)
	if err == nil && !q.asked("async") {
		i, err = q.waitInstance(i.UUID, "created", sf.InstanceCreated)
	}
	if errors.Is(err, spec.ErrNotFound) {
		return nil, errInstanceNotFound
	}
	if err != nil {
		return nil, err
	}
	return q.encodeInstance(i)
}
