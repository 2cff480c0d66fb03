package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

// The progress of a download arrives, and so does how it ended.
func TestCacheImageOverHTTP(t *testing.T) {
	_, f, cl := overHTTP(t, "system")
	ctx := deadline(t)
	var last client.Progress
	report := func(p client.Progress) { last = p }
	if err := cl.CacheImage(ctx, "cirros", report); err != nil || last != (client.Progress{Stage: "downloading", Done: 20e6, Total: 20e6}) {
		t.Errorf("%+v, %v", last, err)
	}
	if err := cl.CacheImage(ctx, "cirros", nil); err != nil {
		t.Error(err)
	}
	for _, class := range spec.Classes {
		f.faults["CacheImage"] = spec.Errorf(class.Err, "not found: insufficient capacity").About("image", "cirros")
		for _, report := range []func(client.Progress){nil, report} {
			err := cl.CacheImage(ctx, "cirros", report)
			if !errors.Is(err, class.Err) || err.Error() != "not found: insufficient capacity" {
				t.Errorf("%s arrives as %v", class.Name, err)
			}
		}
	}
	f.faults["CacheImage"] = errors.New("a secret path")
	if err := cl.CacheImage(ctx, "cirros", report); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "server error") {
		t.Errorf("an internal error arrives as %v", err)
	}
	list, err := cl.Images(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sent, _ := f.Images(ctx)
	same(t, list, sent)
	one, err := cl.Image(ctx, "sha256-2")
	if err != nil {
		t.Fatal(err)
	}
	same(t, one, sent[1])
	if err := cl.DeleteImage(ctx, "sha256-1"); !errors.Is(err, spec.ErrInUse) {
		t.Error(err)
	}
	if err := cl.DeleteImage(ctx, "sha256-2"); err != nil {
		t.Error(err)
	}
}

// stuck is a caller who never reads.
type stuck struct {
	silent
	block chan struct{}
	lines []string
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.block
	s.lines = append(s.lines, string(p))
	return len(p), nil
}

// hasty is a cloud whose downloads report much, and note that they are done.
type hasty struct {
	*fakeCloud
	done chan struct{}
}

func (h *hasty) CacheImage(ctx context.Context, _ string, report func(sf.Progress)) error {
	for n := range int64(1000) {
		report(sf.Progress{Stage: "downloading", Done: n, Total: 1000})
	}
	close(h.done)
	return nil
}

// A caller who does not read what is reported does not hold up the download, and
// gets the latest when they do.
func TestCacheImageSlowCaller(t *testing.T) {
	c := newConversation(t)
	cloud := &hasty{c.server.cloud.(*fakeCloud), make(chan struct{})}
	c.server.cloud = cloud
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "/images", strings.NewReader(`{"url": "cirros"}`))
	r.Header.Set("Authorization", "Bearer "+c.token("system"))
	r.Header.Set("Accept", typeLines)
	w := &stuck{silent{header: http.Header{}}, make(chan struct{}), nil}
	answered := make(chan struct{})
	go func() { c.server.ServeHTTP(w, r); close(answered) }()
	comes(t, "the end of the download", cloud.done)
	close(w.block)
	comes(t, "the answer", answered)
	n := len(w.lines)
	if n < 2 || n > 4 || w.lines[n-1] != "{\"status\":200}\n" || w.lines[n-2] != fmt.Sprintf("{\"stage\":\"downloading\",\"done\":%d,\"total\":1000}\n", 999) {
		t.Errorf("%d lines: %s", n, w.lines)
	}
}
