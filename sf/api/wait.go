package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

// Waiting ends in one of five ways: what was waited for happened; it can't
// happen any more, and the condition's error says why; the store went away, which
// is a 503; the configured time is
// over, which is a 504 that says what the object waits for; or the caller hung
// up, and nobody is told. In the last three the work goes on.

// waitInstance waits for a condition of an instance. done says, for the text of
// a time-out, what should have happened: "created", "deleted".
func (q *request) waitInstance(id, done string, cond func(*spec.Instance) (bool, error)) (*spec.Instance, error) {
	ctx := q.patient()
	i, err := q.cloud.WaitInstance(ctx, id, cond)
	if err == nil || ctx.Err() == nil {
		return i, unseen(err, spec.KindInstance, id, done)
	}
	if now, err := q.cloud.Instance(q.ctx(), id); err == nil { // what it waits for may be news
		i = now
	}
	return nil, q.overdue(spec.KindInstance, id, done, waitOf(i))
}

// waitOf is what an instance waits for; nil where that is not known. A node that is away
// cannot say it.
func waitOf(i *spec.Instance) *spec.Wait {
	switch {
	case i == nil:
		return nil
	case !i.Status.Unreachable.IsZero():
		return &spec.Wait{Reason: fmt.Sprintf("node %s, which has been away since %s", i.Node, i.Status.Unreachable.UTC().Format(time.RFC3339))}
	}
	return i.Status.Wait
}

// waitNetwork is waitInstance for networks.
func (q *request) waitNetwork(id, done string, cond func(*spec.Network) (bool, error)) (*spec.Network, error) {
	ctx := q.patient()
	n, err := q.cloud.WaitNetwork(ctx, id, cond)
	if err == nil || ctx.Err() == nil {
		return n, unseen(err, spec.KindNetwork, id, done)
	}
	var w *spec.Wait
	if n != nil {
		w = n.Status.Wait
	}
	return nil, q.overdue(spec.KindNetwork, id, done, w)
}

func (q *request) overdue(kind spec.Kind, id, done string, w *spec.Wait) error {
	if q.ctx().Err() != nil {
		return errGone
	}
	why := ""
	if w != nil && w.Reason != "" {
		why = " (it waits for " + w.Reason + ")"
	}
	return spec.Errorf(spec.ErrTimeout, "%s %s is not %s after %v%s; work on it goes on, so look at it again later",
		kind, id, done, q.Timeout, why).About(string(kind), id)
}

// unseen is err, where the store went away while a caller waited for what had been
// recorded already: who takes that for a refusal would have it done twice.
func unseen(err error, kind spec.Kind, id, done string) error {
	if !errors.Is(err, spec.ErrUnavailable) {
		return err
	}
	return spec.Errorf(spec.ErrUnavailable, "%s %s is to be %s, and that is recorded; whether it is so yet cannot be seen now, so look at it again later",
		kind, id, done).About(string(kind), id).Because(err)
}

// mostPatience is the longest that a GET waits for a change.
const mostPatience = time.Minute

// patience is how long a GET may wait for a change, from the query: ?wait= with
// seconds. Without it, it is 0.
func (q *request) patience() (time.Duration, error) {
	if q.http.URL.RawQuery == "" {
		return 0, nil
	}
	s := q.http.URL.Query().Get("wait")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, invalid("wait should be a whole number of seconds, not " + strconv.Quote(s))
	}
	return min(time.Duration(min(n, 3600))*time.Second, mostPatience), nil
}

// changes returns a context for waiting for a change of what the caller knows
// already; it is nil where there is nothing to wait for.
func (q *request) changes(version string) (ctx context.Context, cancel context.CancelFunc, known string, err error) {
	d, err := q.patience()
	if d == 0 || err != nil {
		return nil, func() {}, "", err
	}
	if known = q.http.URL.Query().Get("version"); known != version {
		return nil, func() {}, "", nil
	}
	ctx, cancel = q.upTo(d)
	return ctx, cancel, known, nil
}

// upTo is for what a GET waits for: it ends after d, when the caller hangs up, and
// when the server is to stop.
func (q *request) upTo(d time.Duration) (context.Context, context.CancelFunc) {
	q.doneReading()
	ctx, end := context.WithTimeout(q.ctx(), d)
	stop := context.AfterFunc(q.stopping, end)
	return ctx, func() { stop(); end() }
}

// sinceThen is the error of such a wait. That nothing has changed is none.
func (q *request) sinceThen(ctx context.Context, err error) error {
	switch {
	case q.ctx().Err() != nil:
		return errGone
	case ctx.Err() != nil:
		return nil
	}
	return err
}

// pageSize is how many records are read at a time for lists.
const pageSize = 500

// instances returns every instance that the options ask for.
func (q *request) instances(opts sf.ListOptions) ([]*spec.Instance, error) {
	var all []*spec.Instance
	opts.Limit = pageSize
	for {
		page, next, err := q.cloud.Instances(q.ctx(), opts)
		if err != nil || next == "" {
			return append(all, page...), err
		}
		all, opts.After = append(all, page...), next
	}
}

// networks returns every network that the options ask for.
func (q *request) networks(opts sf.ListOptions) ([]*spec.Network, error) {
	var all []*spec.Network
	opts.Limit = pageSize
	for {
		page, next, err := q.cloud.Networks(q.ctx(), opts)
		if err != nil || next == "" {
			return append(all, page...), err
		}
		all, opts.After = append(all, page...), next
	}
}

// instancesOf returns the instances of a namespace that are not gone yet, in
// whatever state; an empty namespace means all of them.
func (q *request) instancesOf(namespace string) ([]*spec.Instance, error) {
	all, err := q.instances(sf.ListOptions{Namespace: namespace, All: true})
	var left []*spec.Instance
	for _, i := range all {
		if !i.Deletion.Gone() {
			left = append(left, i)
		}
	}
	return left, err
}

// networksOf is instancesOf for networks.
func (q *request) networksOf(namespace string) ([]*spec.Network, error) {
	all, err := q.networks(sf.ListOptions{Namespace: namespace, All: true})
	var left []*spec.Network
	for _, n := range all {
		if !n.Deletion.Gone() && n.UUID != spec.FloatingNetwork {
			left = append(left, n)
		}
	}
	return left, err
}

// scope is the namespace whose objects a list shows: system sees all.
func (q *request) scope() string {
	if q.isAdmin() {
		return ""
	}
	return q.namespace
}

// target is the namespace that a create is for: the caller's, or where the
// caller is system the one in the arguments.
func (q *request) target() (string, error) {
	asked := q.args.text("namespace")
	if q.args.err != nil {
		return "", q.args.err
	}
	if asked == "" || asked == q.namespace {
		return q.namespace, nil
	}
	if !q.isAdmin() {
		return "", errForeignNamespace
	}
	_, err := q.cloud.Namespace(q.ctx(), asked)
	return asked, or(err, errNoNamespace)
}

// doomed is the namespace that a delete of everything is for. As in the seed,
// system as the namespace means everything in the cloud; unlike there, the empty
// string means nothing.
func (q *request) doomed() (namespace string, err error) {
	defer func() {
		if err == nil { // for the audit
			q.made = object{spec.KindNamespace, cmp.Or(namespace, spec.System)}
		}
	}()
	if v := string(q.args.values["confirm"]); v != "true" {
		return "", q.args.missing("parameter confirm is not set true")
	}
	asked := q.args.text("namespace")
	if q.args.err != nil {
		return "", q.args.err
	}
	switch {
	case !q.isAdmin() && asked != "" && asked != q.namespace:
		return "", refused("you cannot delete other namespaces")
	case !q.isAdmin():
		return q.namespace, nil
	case asked == "":
		return "", invalid("system user must specify parameter namespace")
	case asked == spec.System:
		return "", nil
	}
	return asked, nil
}

// idempotencyKey returns the header that makes a repeated create safe.
func (q *request) idempotencyKey() (string, error) {
	key := q.http.Header.Get("Idempotency-Key")
	if key != "" && !spec.ValidLabel(key) {
		return "", invalid("the Idempotency-Key should be of letters, digits and -_.@+, at most 128")
	}
	return key, nil
}
