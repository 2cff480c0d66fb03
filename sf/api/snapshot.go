package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/shakenfist/cloud/sf/spec"
)

// createSnapshot copies the boot disk of an instance, or all its disks, and waits
// until that is done. The answer is the snapshot's UUID.
func (q *request) createSnapshot() (any, error) {
	all := q.args.flag("all")
	if q.args.err != nil {
		return nil, q.args.err
	}
	s, op, err := q.cloud.Snapshot(q.lasting(), q.instance.UUID, all)
	if err == nil {
		q.made = object{spec.KindSnapshot, s.UUID}
	}
	if err == nil && !q.asked("async") {
		err = q.waitOperation(op, "copied")
	}
	if err != nil {
		return nil, or(err, errInstanceNotFound)
	}
	return s.UUID, nil
}

// instanceSnapshots lists the copies of an instance's disks, the oldest first: one
// record for each disk, as in the seed.
func (q *request) instanceSnapshots() (any, error) {
	list, err := q.cloud.InstanceSnapshots(q.ctx(), q.instance.UUID)
	out := []copyWire{}
	for _, s := range list {
		out = append(out, wireCopies(s)...)
	}
	if err != nil {
		return nil, err
	}
	return listed(q, out, func(c copyWire) string { return c.UUID + "/" + c.Device })
}

// listSnapshots lists the caller's snapshots, the oldest first; for system, those
// of all namespaces.
func (q *request) listSnapshots() (any, error) {
	namespaces := []string{q.namespace}
	if q.isAdmin() {
		all, err := q.cloud.Namespaces(q.ctx())
		if err != nil {
			return nil, err
		}
		namespaces = nil
		for _, ns := range all {
			namespaces = append(namespaces, ns.Name)
		}
	}
	var found []*spec.Snapshot
	for _, ns := range namespaces {
		list, err := q.cloud.Snapshots(q.ctx(), ns)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	slices.SortStableFunc(found, func(a, b *spec.Snapshot) int { return a.Created.Compare(b.Created) })
	out := make([]snapshotWire, 0, len(found))
	for _, s := range found {
		out = append(out, wireSnapshot(s))
	}
	return listed(q, out, func(s snapshotWire) string { return s.UUID })
}

func (q *request) getSnapshot() (any, error) { return partOf(q, wireSnapshot(q.snapshot)) }

// deleteSnapshot removes a snapshot and waits until it is gone.
func (q *request) deleteSnapshot() (any, error) {
	id := q.snapshot.UUID
	if err := q.cloud.DeleteSnapshot(q.lasting(), id); err != nil {
		return nil, or(err, errSnapshotNotFound)
	}
	if q.asked("async") {
		return nil, nil
	}
	ctx := q.patient()
	err := q.cloud.WaitSnapshotGone(ctx, id)
	if err == nil || ctx.Err() == nil {
		return nil, unseen(err, spec.KindSnapshot, id, "deleted")
	}
	return nil, q.overdue(spec.KindSnapshot, id, "deleted", nil)
}

// download sends one disk of a snapshot, or the range of it that is asked for: a
// qcow2 image.
func (q *request) download() (any, error) {
	q.doneReading()
	id, device := q.snapshot.UUID, q.path("device")
	r, err := q.cloud.OpenSnapshot(q.ctx(), id, device)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := q.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", id+"-"+device+".qcow2"))
	h.Set("ETag", strconv.Quote(id+"-"+device)) // it never changes
	w := &watched{ResponseWriter: q.w, status: http.StatusOK}
	http.ServeContent(w, q.http, "", q.snapshot.Created, untilStopped{q.ctx(), r})
	return streamed(w.status), nil
}

// watched notes the status of an answer.
type watched struct {
	http.ResponseWriter
	status int
}

func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// untilStopped ends a long read when the server is told to stop, or the caller
// hangs up.
type untilStopped struct {
	ctx context.Context
	io.ReadSeeker
}

func (u untilStopped) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.ReadSeeker.Read(p)
}

// copyWire is one disk of a snapshot as the seed shows it.
type copyWire struct {
	UUID         string `json:"uuid"` // of the snapshot
	Device       string `json:"device"`
	InstanceUUID string `json:"instance_uuid"`
	Created      int64  `json:"created"` // seconds; clients can't read a fraction here

	State       spec.State `json:"state"`
	Error       string     `json:"error,omitempty"`
	Size        int64      `json:"size"` // bytes of the file
	VirtualSize int64      `json:"virtual_size"`
}

// snapshotWire is a whole snapshot, which the seed does not show.
type snapshotWire struct {
	UUID         string              `json:"uuid"`
	InstanceUUID string              `json:"instance_uuid"`
	Namespace    string              `json:"namespace"`
	Node         string              `json:"node"`
	Created      int64               `json:"created"`
	Devices      []string            `json:"devices"`
	State        spec.State          `json:"state"`
	StateUpdated seconds             `json:"state_updated"`
	Error        string              `json:"error,omitempty"`
	Files        []spec.SnapshotFile `json:"files"` // sizes in bytes
	Deletion     *spec.Deletion      `json:"deletion,omitempty"`
}

func wireSnapshot(s *spec.Snapshot) snapshotWire {
	w := snapshotWire{
		UUID: s.UUID, InstanceUUID: s.Instance, Namespace: s.Namespace, Node: s.Node, Created: s.Created.Unix(), Devices: s.Devices,
		State: s.Status.State, StateUpdated: at(s.Status.Since), Error: s.Status.Error, Files: s.Status.Files, Deletion: s.Deletion,
	}
	if w.Files == nil {
		w.Files = []spec.SnapshotFile{}
	}
	return w
}

func wireCopies(s *spec.Snapshot) []copyWire {
	var out []copyWire
	for _, device := range s.Devices {
		w := copyWire{UUID: s.UUID, Device: device, InstanceUUID: s.Instance, Created: s.Created.Unix(), State: s.Status.State, Error: s.Status.Error}
		for _, f := range s.Status.Files {
			if f.Device == device {
				w.Size, w.VirtualSize = f.Size, f.VirtualSize
			}
		}
		out = append(out, w)
	}
	return out
}
