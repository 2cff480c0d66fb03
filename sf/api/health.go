package api

import (
	"context"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// healthTime is how long the store may take to answer.
const healthTime = 2 * time.Second

// healthz tells load balancers whether this server can do its work: whether the
// store answers. It says nothing about the cloud that is not theirs to know.
func (q *request) healthz() (any, error) {
	ctx, cancel := context.WithTimeout(q.ctx(), healthTime)
	defer cancel()
	if _, err := q.cloud.Namespace(ctx, spec.System); err != nil {
		q.Logger.Warn("not healthy: the store does not answer", "error", err)
		return nil, spec.Errorf(spec.ErrUnavailable, "the store does not answer")
	}
	return health{"ok"}, nil
}
