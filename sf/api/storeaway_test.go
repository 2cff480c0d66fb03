package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf/spec"
)

// A store that goes away while a caller waits for what was recorded already is a 503
// which says that it was: who took it for a refusal would have it made twice.
func TestStoreAwayWhileWaiting(t *testing.T) {
	waited := 0
	for _, rt := range routes() {
		name := rt.method + " " + rt.pattern
		if rt.method == http.MethodGet || !slices.Contains(strings.Fields(descriptions[name].query), "async") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c := withObjects(t)
			f := c.server.cloud.(*fakeCloud)
			url, body := succeeding(c, &rt)
			for _, method := range []string{"WaitInstance", "WaitNetwork", "WaitOperation", "WaitSnapshotGone"} {
				f.faults[method] = spec.Errorf(spec.ErrUnavailable, "the store cannot be reached")
			}
			w := c.ask("system", rt.method, url, nil, body)
			if w.Code == http.StatusOK { // it waits for nothing that is recorded
				return
			}
			waited++
			for _, says := range []string{" is to be ", "that is recorded", "the store cannot be reached"} {
				if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), says) {
					t.Errorf("%d %s, want 503 with %q", w.Code, w.Body, says)
				}
			}
		})
	}
	if waited < 12 {
		t.Errorf("only %d routes waited", waited)
	}
}
