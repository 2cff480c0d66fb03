package api

import (
	"cmp"
	"errors"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

func (q *request) listNetworks() (any, error) {
	all := q.args.flag("all") || q.asked("all")
	if q.args.err != nil {
		return nil, q.args.err
	}
	w, err := q.window(members[networkSummary])
	if err != nil {
		return nil, err
	}
	return q.pages(w, func(after string, limit int) ([][]byte, string, error) {
		list, next, err := q.cloud.Networks(q.ctx(), sf.ListOptions{Namespace: q.scope(), All: all, After: after, Limit: limit})
		var records [][]byte
		for _, n := range list {
			if n.UUID == spec.FloatingNetwork || err != nil {
				continue
			}
			var record []byte
			record, err = encode(summaryOf(n))
			records = append(records, record)
		}
		return records, next, err
	})
}

func (q *request) createNetwork() (any, error) {
	a := q.args
	s := spec.NetworkSpec{
		Name:     a.text("name"),
		Netblock: a.text("netblock"),
		DHCP:     a.flag("provide_dhcp"),
		NAT:      a.flag("provide_nat"),
	}
	namespace, err := q.target()
	if a.err != nil {
		return nil, a.err
	}
	if err != nil {
		return nil, err
	}
	if s.Netblock == "" {
		return nil, a.missing("cannot parse netblock: no netblock specified")
	}
	if s.IdempotencyKey, err = q.idempotencyKey(); err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	n, err := q.cloud.CreateNetwork(q.lasting(), namespace, s)
	if err == nil {
		q.made = object{spec.KindNetwork, n.UUID}
	}
	if err == nil && !q.asked("async") {
		n, err = q.waitNetwork(n.UUID, "created", sf.NetworkCreated)
	}
	if err != nil {
		return nil, err
	}
	return wireNetwork(n), nil
}

// getNetwork shows a network, when it changes as getInstance does.
func (q *request) getNetwork() (any, error) {
	ctx, cancel, known, err := q.changes(q.network.Version)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if ctx != nil {
		n, err := q.cloud.WaitNetwork(ctx, q.network.UUID, func(n *spec.Network) (bool, error) { return n.Version != known, nil })
		if err = q.sinceThen(ctx, err); err != nil {
			return nil, or(err, errNetworkNotFound)
		}
		q.network = cmp.Or(n, q.network)
	}
	w, err := q.part(members[networkWire])
	if err != nil {
		return nil, err
	}
	record, err := encode(wireNetwork(q.network))
	if err == nil && w.fields != nil {
		if record, err = w.only(record); err == nil {
			record = append(record, '\n')
		}
	}
	return q.tagged(q.network.Version, raw(record), err)
}

func (q *request) deleteNetwork() (any, error) {
	n := q.network
	if n.UUID == spec.FloatingNetwork {
		return nil, forbidden("you cannot delete the floating network")
	}
	if n.Deletion.Gone() {
		return nil, errNetworkNotFound
	}
	if n.Deletion == nil {
		err := q.cloud.DeleteNetwork(q.lasting(), n.UUID)
		if errors.Is(err, spec.ErrInUse) {
			return nil, networkInUse("you cannot delete an in use network")
		}
		if err != nil {
			return nil, or(err, errNetworkNotFound)
		}
	}
	return nil, q.networkGone(n.UUID)
}

func networkInUse(text string) error { return &fault{403, spec.ErrInUse, text} }

// networkGone waits until a network that was marked is gone. One whose record
// has been forgotten meanwhile is.
func (q *request) networkGone(id string) error {
	if q.asked("async") {
		return nil
	}
	_, err := q.waitNetwork(id, "deleted", sf.NetworkGone)
	if errors.Is(err, spec.ErrNotFound) {
		return nil
	}
	return err
}

// deleteNetworks deletes every network of a namespace, or none where one of them
// is in use.
func (q *request) deleteNetworks() (any, error) {
	namespace, err := q.doomed()
	if err != nil {
		return nil, err
	}
	inUse := networkInUse("cannot delete an in use network")
	list, err := q.networksOf(namespace)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		nics, err := q.cloud.NetworkInterfaces(q.ctx(), n.UUID)
		if err != nil && !errors.Is(err, spec.ErrNotFound) {
			return nil, err
		}
		if len(live(nics)) > 0 {
			return nil, inUse
		}
	}
	ids := make([]string, 0, len(list))
	for _, n := range list {
		err := q.cloud.DeleteNetwork(q.lasting(), n.UUID)
		if errors.Is(err, spec.ErrInUse) {
			return nil, inUse
		}
		if err != nil && !errors.Is(err, spec.ErrNotFound) {
			return nil, err
		}
		ids = append(ids, n.UUID)
	}
	for _, id := range ids {
		if err := q.networkGone(id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (q *request) networkInterfaces() (any, error) {
	nics, err := q.cloud.NetworkInterfaces(q.ctx(), q.network.UUID)
	if err != nil {
		return nil, err
	}
	return listed(q, wireInterfaces(nics), func(n interfaceWire) string { return n.UUID })
}
