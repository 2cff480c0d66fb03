package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// Page says which part of a list.
type Page struct {
	All    bool     // those that are deleted or in error too
	After  string   // the next that an earlier call returned; empty starts at the first
	Limit  int      // records at most; 0 is all
	Fields []string // members of the JSON that are wanted, the others stay empty; nil is all
}

// path is the path of a page of the list at path.
func (p Page) path(path string) string {
	query := url.Values{}
	if p.After != "" {
		query.Set("after", p.After)
	}
	if p.Limit > 0 {
		query.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Fields != nil {
		query.Set("fields", strings.Join(p.Fields, ","))
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// InstancePage returns a part of what Instances does, sorted by UUID, and what to
// pass as After to go on behind it; "" at the end. Servers of 0.2 have one page.
func (c *Client) InstancePage(ctx context.Context, p Page) (list []*spec.Instance, next string, err error) {
	var records []instanceRecord
	next, err = c.page(ctx, instances, p, &records)
	return each(records, (*instanceRecord).instance), next, err
}

// NetworkPage is InstancePage for networks.
func (c *Client) NetworkPage(ctx context.Context, p Page) (list []*spec.Network, next string, err error) {
	var records []networkRecord
	next, err = c.page(ctx, networks, p, &records)
	return each(records, (*networkRecord).network), next, err
}

// SnapshotPage returns a part of what Snapshots does, like InstancePage.
func (c *Client) SnapshotPage(ctx context.Context, p Page) (list []*spec.Snapshot, next string, err error) {
	var records []snapshotRecord
	p.All = false // which this list does not know
	next, err = c.page(ctx, snapshots, p, &records)
	return each(records, (*snapshotRecord).snapshot), next, err
}

func (c *Client) page(ctx context.Context, path string, p Page, into any) (next string, err error) {
	err = c.do(ctx, call{method: http.MethodGet, path: p.path(path), args: allArg(p.All), into: into,
		seen: func(h http.Header) { next = behind(h.Get("Link")) }})
	return next, err
}

// behind is where the page begins that a Link header calls the next.
func behind(link string) string {
	target, rel, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	u, err := url.Parse(target)
	if err != nil || !strings.Contains(rel, `rel="next"`) {
		return ""
	}
	return u.Query().Get("after")
}
