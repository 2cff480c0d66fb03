package sf

import (
	"github.com/shakenfist/cloud/sf/internal/measure"
	"github.com/shakenfist/cloud/sf/internal/node"
	"github.com/shakenfist/cloud/sf/internal/reconcile"
)

// Stats are measurements of a Cloud since it was opened, for whoever shows them:
// package sf/api does in Prometheus' text format.
type Stats struct {
	Store   StoreStats
	Records CacheStats // decoded records that are kept
	Node    *NodeStats // nil where this process runs no node
}

// What the measurements are made of.
type (
	StoreStats  = measure.StoreStats
	NodeStats   = node.Stats
	WorkStats   = node.WorkStats
	QueueDepths = reconcile.Depths
	Times       = measure.Times
)

// CacheStats are the size of something that is kept in memory.
type CacheStats struct{ Entries, Bytes int }

// Stats returns the measurements. It asks neither the store nor the host, so it works
// while they are away.
func (c *Cloud) Stats() Stats {
	s := Stats{Store: c.store.Stats()}
	s.Records.Entries, s.Records.Bytes = c.records.Cached()
	if c.agent != nil {
		n := c.agent.Stats()
		s.Node = &n
	}
	return s
}
