package sf

import (
	"context"
	"io"

	"github.com/shakenfist/cloud/sf/internal/record"
	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// Events returns what happened to an object, oldest first: the last 64 events.
func (c *Cloud) Events(ctx context.Context, kind Kind, id string) ([]*Event, error) {
	list, _, _, err := record.List[spec.Event](ctx, c.records, record.EventPrefix(kind, id), store.Page{})
	if err != nil {
		return nil, storeError(err)
	}
	events := make([]*Event, len(list))
	for i := range list {
		events[i] = &list[i].Value
	}
	return events, nil
}

// ConsoleLog returns the last n bytes of an instance's serial console, all that
// is kept where n is negative; nothing where there is no log yet.
func (c *Cloud) ConsoleLog(ctx context.Context, id string, n int64) ([]byte, error) {
	if err := c.here(ctx, id); err != nil {
		return nil, err
	}
	return c.agent.ConsoleLog(ctx, id, n)
}

// Console opens an instance's serial console, both ways. A slow reader loses
// output; the stream ends when the instance stops.
func (c *Cloud) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	if err := c.here(ctx, id); err != nil {
		return nil, err
	}
	return c.agent.Console(ctx, id)
}

// here says why an instance cannot be reached through this process, if so.
func (c *Cloud) here(ctx context.Context, id string) error {
	i, err := c.Instance(ctx, id)
	if err != nil {
		return err
	}
	if c.agent == nil || i.Node != c.cfg.Node.Name {
		return spec.Errorf(ErrUnavailable, "the instance is on node %s, which this process does not run", i.Node).About("instance", id)
	}
	return nil
}
