package api

import (
	"bytes"
	"cmp"
	"errors"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

func (q *request) listInstances() (any, error) {
	all := q.args.flag("all") || q.asked("all")
	if q.args.err != nil {
		return nil, q.args.err
	}
	w, err := q.window(members[instanceWire])
	if err != nil {
		return nil, err
	}
	return q.pages(w, func(after string, limit int) ([][]byte, string, error) {
		list, next, err := q.cloud.Instances(q.ctx(), sf.ListOptions{Namespace: q.scope(), All: all, After: after, Limit: limit})
		if err != nil {
			return nil, "", err
		}
		records := make([][]byte, len(list))
		for n, i := range list {
			if records[n], err = q.encodeInstance(i); err != nil {
				return nil, "", err
			}
		}
		return records, next, nil
	})
}

// getInstance shows an instance: with ?wait= once its version is not ?version=
// any more, or after so many seconds as it is then.
func (q *request) getInstance() (any, error) {
	ctx, cancel, known, err := q.changes(q.instance.Version)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if ctx != nil {
		i, err := q.cloud.WaitInstance(ctx, q.instance.UUID, func(i *spec.Instance) (bool, error) { return i.Version != known, nil })
		if err = q.sinceThen(ctx, err); err != nil {
			return nil, or(err, errInstanceNotFound)
		}
		q.instance = cmp.Or(i, q.instance)
	}
	return q.showInstance(q.instance)
}

// showInstance answers with an instance, or the part of it that is asked for.
func (q *request) showInstance(i *spec.Instance) (any, error) {
	w, err := q.part(members[instanceWire])
	if err != nil {
		return nil, err
	}
	record, err := q.encodeInstance(i)
	if err == nil && w.fields != nil {
		if record, err = w.only(record); err == nil {
			record = append(record, '\n')
		}
	}
	return q.tagged(i.Version, record, err)
}

// createInstance records an instance and waits until it runs.
func (q *request) createInstance() (any, error) {
	s, err := q.instanceSpec()
	if err != nil {
		return nil, err
	}
	namespace, err := q.target()
	if err != nil {
		return nil, err
	}
	if s.IdempotencyKey, err = q.idempotencyKey(); err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if q.dry() {
		return q.placement(namespace, s)
	}
	i, err := q.cloud.CreateInstance(q.lasting(), namespace, s)
	if err == nil {
		q.made = object{spec.KindInstance, i.UUID}
	}
	if err == nil && !q.asked("async") {
		i, err = q.waitInstance(i.UUID, "created", sf.InstanceCreated)
	}
	if err != nil {
		return nil, err
	}
	return q.encodeInstance(i)
}

func (q *request) deleteInstance() (any, error) {
	i := q.instance
	if i.Deletion.Gone() {
		return nil, errInstanceNotFound
	}
	if i.Deletion == nil {
		if err := q.cloud.DeleteInstance(q.lasting(), i.UUID); err != nil {
			return nil, or(err, errInstanceNotFound)
		}
	}
	return nil, q.instanceGone(i.UUID)
}

// instanceGone waits until an instance that was marked is gone. One whose record
// has been forgotten meanwhile is.
func (q *request) instanceGone(id string) error {
	if q.asked("async") {
		return nil
	}
	_, err := q.waitInstance(id, "deleted", sf.InstanceGone)
	if errors.Is(err, spec.ErrNotFound) {
		return nil
	}
	return err
}

// deleteInstances marks every instance of a namespace and waits for all of them.
func (q *request) deleteInstances() (any, error) {
	namespace, err := q.doomed()
	if err != nil {
		return nil, err
	}
	list, err := q.instancesOf(namespace)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(list))
	for _, i := range list {
		if err := q.cloud.DeleteInstance(q.lasting(), i.UUID); err != nil && !errors.Is(err, spec.ErrNotFound) {
			return nil, err
		}
		ids = append(ids, i.UUID)
	}
	for _, id := range ids {
		if err := q.instanceGone(id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (q *request) instanceInterfaces() (any, error) {
	nics, err := q.cloud.InstanceInterfaces(q.ctx(), q.instance.UUID)
	if err != nil {
		return nil, err
	}
	return listed(q, wireInterfaces(nics), func(n interfaceWire) string { return n.UUID })
}

// The most and the usual bytes of a console log in one answer.
const (
	mostConsole  = 16 << 20
	usualConsole = 10240
)

// consoleData returns the end of the console log. Its length comes from the body
// or, for clients that send it there, from the query.
func (q *request) consoleData() (any, error) {
	n := usualConsole
	if inQuery := q.http.URL.Query().Get("length"); inQuery != "" && !q.args.given("length") {
		q.args.set("length", inQuery)
	}
	if q.args.given("length") {
		n = q.args.number("length")
	}
	if q.args.err != nil {
		return nil, invalid("length is not an integer")
	}
	if n <= 0 {
		return text(nil), nil
	}
	log, err := q.cloud.ConsoleLog(q.ctx(), q.instance.UUID, int64(min(n, mostConsole)))
	return text(bytes.ToValidUTF8(log, []byte("\uFFFD"))), err
}

func (q *request) powerOn() (any, error)  { return q.power(spec.PowerOn) }
func (q *request) powerOff() (any, error) { return q.power(spec.PowerOff) }
func (q *request) pause() (any, error)    { return q.power(spec.PowerPaused) }
func (q *request) unpause() (any, error)  { return q.power(spec.PowerOn) }

// power wishes for a power state and waits until the node has answered the wish.
func (q *request) power(want spec.PowerState) (any, error) {
	if q.instance.Deletion != nil {
		return nil, errInstanceNotFound
	}
	i, err := q.cloud.SetPower(q.lasting(), q.instance.UUID, want)
	if err != nil {
		return nil, or(err, errInstanceNotFound)
	}
	if !q.asked("async") {
		_, err = q.waitInstance(i.UUID, string(want), sf.PowerSettled(i.Power.Generation))
	}
	return nil, err
}
