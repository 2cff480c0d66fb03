package etcd

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/shakenfist/cloud/store"
)

// Commit implements store.Store.
func (s *client) Commit(ctx context.Context, txn store.Txn) (store.Revision, error) {
	if err := txn.Validate(); err != nil {
		return 0, err
	}
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if len(txn.Do) == 0 {
		return s.check(ctx, txn)
	}
	attempt, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), s.timeout)
	defer cancel()
	attempt, sent := tracked(attempt)
	r, err := s.request(attempt, txn).Commit()
	if err != nil {
		why := s.explain(ctx, err)
		if sent.Load() && !refused(err) {
			return 0, fmt.Errorf("etcd: commit: %w: %w", store.ErrUnknownOutcome, why)
		}
		return 0, fmt.Errorf("etcd: commit: %w", why)
	}
	return s.outcome(txn, r)
}

// check is a Commit that only reads, and so may be repeated.
func (s *client) check(ctx context.Context, txn store.Txn) (store.Revision, error) {
	var r *clientv3.TxnResponse
	err := s.repeat(ctx, func(ctx context.Context) (err error) {
		r, err = s.request(ctx, txn).Commit()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("etcd: check: %w", err)
	}
	return s.outcome(txn, r)
}

func (s *client) outcome(txn store.Txn, r *clientv3.TxnResponse) (store.Revision, error) {
	s.saw(0, r.Header.Revision)
	at := store.Revision(r.Header.Revision)
	if r.Succeeded {
		return at, nil
	}
	for i, c := range txn.If {
		if !holds(c, r.Responses[i].GetResponseRange()) {
			return at, fmt.Errorf("%w: %v", store.ErrConflict, c)
		}
	}
	return at, store.ErrConflict
}

// holds says whether c does, by the answer to the question of it in request.
func holds(c store.Cond, r *pb.RangeResponse) bool {
	switch c.Kind {
	case store.CondExists:
		return len(r.Kvs) > 0
	case store.CondRevision:
		return len(r.Kvs) > 0 && r.Kvs[0].ModRevision == int64(c.Revision)
	}
	return len(r.Kvs) == 0
}

// request is txn in etcd's terms. When a condition fails, it asks which.
func (s *client) request(ctx context.Context, txn store.Txn) clientv3.Txn {
	var conds []clientv3.Cmp
	var do, why []clientv3.Op
	for _, c := range txn.If {
		conds = append(conds, s.cond(c))
		why = append(why, s.question(c))
	}
	for _, op := range txn.Do {
		do = append(do, s.op(op))
	}
	if len(do) == 0 {
		// A transaction that neither reads nor writes is answered by whoever gets it,
		// without asking the leader whether that is still true.
		do = append(do, clientv3.OpGet(s.prefix+"\x00", clientv3.WithCountOnly()))
	}
	return s.etcd.Txn(ctx).If(conds...).Then(do...).Else(why...)
}

func (s *client) cond(c store.Cond) clientv3.Cmp {
	key := s.prefix + c.Key
	switch c.Kind {
	case store.CondExists:
		return clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
	case store.CondAbsent:
		return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	case store.CondPrefixEmpty:
		return clientv3.Compare(clientv3.CreateRevision(key).WithPrefix(), "=", 0)
	}
	if c.Revision <= 0 {
		// To etcd a key that does not exist is of revision 0; here it is of none.
		return clientv3.Compare(clientv3.CreateRevision(key), "<", 0)
	}
	return clientv3.Compare(clientv3.ModRevision(key), "=", int64(c.Revision))
}

func (s *client) question(c store.Cond) clientv3.Op {
	o := []clientv3.OpOption{clientv3.WithKeysOnly()}
	if c.Kind == store.CondPrefixEmpty {
		o = append(o, clientv3.WithPrefix(), clientv3.WithLimit(1))
	}
	return clientv3.OpGet(s.prefix+c.Key, o...)
}

func (s *client) op(op store.Op) clientv3.Op {
	key := s.prefix + op.Key
	switch op.Kind {
	case store.OpDelete:
		return clientv3.OpDelete(key)
	case store.OpDeletePrefix:
		return clientv3.OpDelete(key, clientv3.WithPrefix())
	}
	if op.Session != 0 {
		return clientv3.OpPut(key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Session)))
	}
	return clientv3.OpPut(key, string(op.Value))
}
