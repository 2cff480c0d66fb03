package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/sf/internal/claims"
	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// ErrNameTaken: another machine is the node of this name.
var ErrNameTaken = errors.New("another machine is the node of this name")

// putNode writes the node's record, and returns the condition that it is still as
// written. Two machines under one name would both run what is recorded for it, so a
// name belongs to the machine whose key is in the record. Another one gets it only
// when that has no instances and is not there.
func (a *Agent) putNode(ctx context.Context, n spec.Node) (mine store.Cond, err error) {
	key := record.NodeKey(a.Name)
	err = record.Retry(ctx, func() error {
		t := a.Records.Begin()
		was, err := record.Get[spec.Node](ctx, a.Records, key)
		switch {
		case missing(err):
			t.Create(key, n).Put(record.NodeJoinedKey(a.Name), claims.Empty{})
		case err != nil:
			return err
		case sameMachine(was.Value, n):
			if was.Value.Address != n.Address {
				if err := a.notThere(ctx, t, was.Value); err != nil { // a copy of its disk has its key too
					return err
				}
			}
			t.If(store.RevisionIs(key, was.Revision)).Put(key, n)
		default:
			if err := a.nameFree(ctx, t, was.Value); err != nil {
				return err
			}
			t.If(store.RevisionIs(key, was.Revision)).Put(key, n)
		}
		if _, err := a.Records.Store().Get(ctx, record.NodeUsedKey(a.Name)); missing(err) {
			t.Create(record.NodeUsedKey(a.Name), spec.Capacity{})
		} else if err != nil {
			return err
		}
		rev, err := a.Records.Commit(ctx, t)
		mine = store.RevisionIs(key, rev)
		return err
	})
	return mine, err
}

// sameMachine reports whether a node's record is of the machine that n is. Without
// keys nobody can tell.
func sameMachine(was, n spec.Node) bool {
	return was.PeerKey == n.PeerKey || was.PeerKey == "" || n.PeerKey == ""
}

// nameFree adds to t that another machine of this node's name, was, has nothing any more.
func (a *Agent) nameFree(ctx context.Context, t *record.Txn, was spec.Node) error {
	if err := a.notThere(ctx, t, was); err != nil {
		return err
	}
	used, err := record.Get[spec.Capacity](ctx, a.Records, record.NodeUsedKey(a.Name))
	if err != nil {
		return err
	}
	if used.Value != (spec.Capacity{}) {
		return fmt.Errorf("%w: node %s, last at %s, has %d instances: give this machine another name, or recover or delete them and remove that node",
			ErrNameTaken, a.Name, was.Address, used.Value.Instances)
	}
	t.If(store.RevisionIs(used.Key, used.Revision))
	return nil
}

// notThere adds to t that no agent is there under this node's name.
func (a *Agent) notThere(ctx context.Context, t *record.Txn, was spec.Node) error {
	live := record.NodeLiveKey(a.Name)
	t.If(store.Absent(live))
	_, err := a.Records.Store().Get(ctx, live)
	if err == nil {
		return fmt.Errorf("%w: node %s is there, at %s: give this machine another name, or, if that was this machine's address, wait until it counts as gone",
			ErrNameTaken, a.Name, was.Address)
	}
	return ignoreMissing(err)
}
