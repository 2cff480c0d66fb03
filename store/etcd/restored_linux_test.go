package etcd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/shakenfist/cloud/store"
)

// An etcd that comes back from a backup has lost what was written since, and writes
// something else under the same revisions. Whoever watches is told so, rather than to wait for a
// revision that is years away, or to take the new history for the old one.
func TestRestoredFromBackup(t *testing.T) {
	t.Parallel()
	for _, release := range clustered {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			v := start(t, release, "http")
			s, ctx := mustOpen(t, v.config()), patience(t)
			put(t, s, "k/1", []byte("kept"))
			v.kill()
			backup := filepath.Join(t.TempDir(), "backup")
			if err := os.CopyFS(backup, os.DirFS(v.dir)); err != nil {
				t.Fatal(err)
			}
			again := func() {
				if v.run(t); !v.listens() {
					t.Fatalf("etcd does not start again: %s", v.log)
				}
			}
			again()
			read := func() {
				retry(t, func(ctx context.Context) (store.Revision, error) {
					l, err := s.List(ctx, "k/", store.Page{})
					return l.Revision, err
				})
			}
			read()
			for range 5 {
				put(t, s, "k/2", []byte("lost"))
			}
			before := newest(t, s)
			idle, behind := watch(t, s, "k/", before), watch(t, s, "k/", before-3)
			if b := events(t, behind); b.Revision != before-2 {
				t.Fatalf("revision %d, not %d", b.Revision, before-2)
			}
			v.kill()
			if err := errors.Join(os.RemoveAll(v.dir), os.CopyFS(v.dir, os.DirFS(backup))); err != nil {
				t.Fatal(err)
			}
			again()
			read() // which finds it out
			for _, w := range []store.Watcher{idle, behind} {
				for {
					b, err := w.Next(ctx)
					if errors.Is(err, store.ErrCompacted) {
						break
					}
					if err != nil || b.Revision > before {
						t.Fatalf("the watch goes on: %+v, %v", b, err)
					}
				}
			}
			w := watch(t, s, "k/", newest(t, s))
			if r := put(t, s, "k/2", []byte("new")); r > before || events(t, w).Revision != r {
				t.Errorf("revision %d is not shown", r)
			}
		})
	}
}
