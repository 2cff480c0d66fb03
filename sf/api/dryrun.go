package api

import "github.com/shakenfist/cloud/sf/spec"

// placementWire is where an instance would go.
type placementWire struct {
	Node   *string           `json:"node"`    // the preferred; null where none can take it
	Nodes  []string          `json:"nodes"`   // that can take it, the preferred first
	WhyNot map[string]string `json:"why_not"` // why others cannot, by name
}

// dry reports whether a create is only to be thought through: ?dry_run=1, or the
// argument, which servers that don't know it refuse.
func (q *request) dry() bool { return q.asked("dry_run") || q.args.flag("dry_run") }

// placement answers a create that is not to happen.
func (q *request) placement(namespace string, s spec.InstanceSpec) (any, error) {
	p, err := q.cloud.PlaceInstance(q.ctx(), namespace, s)
	if err != nil {
		return nil, err
	}
	w := placementWire{Nodes: append([]string{}, p.Nodes...), WhyNot: p.Refused}
	if len(p.Nodes) > 0 {
		w.Node = &p.Nodes[0]
	}
	return w, nil
}
