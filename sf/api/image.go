package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/spec"
)

// typeLines is the type of an answer of several JSON values, one on each line.
const typeLines = "application/x-ndjson"

// cacheImage fetches an image into this node's cache and answers when it is there.
// There is no limit to how long that takes. A caller that accepts lines gets one
// for every bit of progress; the last line has the status. One who does not wait is
// answered once the first bytes are on their way.
func (q *request) cacheImage() (any, error) {
	name := q.args.text("url")
	if q.args.err != nil {
		return nil, q.args.err
	}
	if name == "" {
		return nil, q.args.missing("missing url in request")
	}
	q.made = object{"image", withoutSecrets(name)}
	q.doneReading()
	if q.asked("async") {
		return nil, q.later("fetch "+q.made.id, func(ctx context.Context, begun func()) error {
			return q.cloud.CacheImage(ctx, name, func(sf.Progress) { begun() })
		})
	}
	if strings.Contains(q.http.Header.Get("Accept"), typeLines) {
		return q.cacheImageSlowly(name)
	}
	return nil, q.cloud.CacheImage(q.lasting(), name, nil)
}

// withoutSecrets is a URL for the log: who may use it, and what often is a secret
// behind the question mark, left out.
func withoutSecrets(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

type progressWire struct {
	Stage string `json:"stage"`
	Done  int64  `json:"done"`  // bytes
	Total int64  `json:"total"` // bytes, 0 where it is not known
}

func (q *request) cacheImageSlowly(name string) (any, error) {
	q.w.Header().Set("Content-Type", typeLines)
	latest := make(chan sf.Progress, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range latest {
			q.line(progressWire{p.Stage, p.Done, p.Total})
		}
	})
	var mu sync.Mutex // several may report
	err := q.cloud.CacheImage(q.lasting(), name, func(p sf.Progress) {
		mu.Lock()
		defer mu.Unlock()
		select {
		case <-latest: // a caller who is slow gets the news, not the history
		default:
		}
		latest <- p
	})
	close(latest)
	wg.Wait()
	if err != nil {
		b := q.describe(err)
		q.line(b)
		return streamed(b.Status), nil
	}
	q.line(struct {
		Status int `json:"status"`
	}{http.StatusOK})
	return streamed(http.StatusOK), nil
}

// line sends one line of an answer at once.
func (q *request) line(v any) {
	b, err := encode(v)
	if err != nil {
		return
	}
	q.w.Write(b) // an error means that the caller has gone
	http.NewResponseController(q.w).Flush()
}

func (q *request) listImages() (any, error) {
	list, err := q.cloud.Images(q.ctx())
	out := make([]imageWire, 0, len(list))
	for _, i := range list {
		out = append(out, wireImage(i))
	}
	if err != nil {
		return nil, err
	}
	return listed(q, out, func(i imageWire) string { return i.ID })
}

func (q *request) getImage() (any, error) {
	list, err := q.cloud.Images(q.ctx())
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if i.ID == q.path("image_id") {
			return partOf(q, wireImage(i))
		}
	}
	return nil, errImageNotFound
}

// deleteImage removes an image from the cache, unless a disk is laid over it.
func (q *request) deleteImage() (any, error) {
	return nil, or(q.cloud.DeleteImage(q.lasting(), q.path("image_id")), errImageNotFound)
}

type imageWire struct {
	ID          string   `json:"id"`
	Names       []string `json:"names"` // it was asked for by
	Node        string   `json:"node"`
	Format      string   `json:"format"`
	CDROM       bool     `json:"cdrom"`
	Size        int64    `json:"size"`         // bytes
	VirtualSize int64    `json:"virtual_size"` // bytes
	Used        seconds  `json:"used"`
	Users       int      `json:"users"` // disks laid over it
}

func wireImage(i *spec.CachedImage) imageWire {
	w := imageWire{i.ID, i.Names, i.Node, i.Format, i.CDROM, i.Size, i.VirtualSize, at(i.Used), i.Users}
	if w.Names == nil {
		w.Names = []string{}
	}
	return w
}
