package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/spec"
)

func snapshotOf(c *conversation) string {
	return strings.TrimPrefix(concrete(c, "/snapshots/{snapshot_uuid}"), "/snapshots/")
}

// When a snapshot was made is an integer: the Go client cannot read anything else.
func TestSnapshotTimesAreIntegers(t *testing.T) {
	c := withObjects(t)
	for _, url := range []string{"/instances/" + instanceOf(c) + "/snapshot", "/snapshots", "/snapshots/" + snapshotOf(c)} {
		if w := c.ask("demo", "GET", url, nil, ""); !regexp.MustCompile(`"created":1601091234[,}]`).Match(w.Body.Bytes()) {
			t.Errorf("%s: %s", url, w.Body)
		}
	}
}

func TestSnapshotEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := withObjects(t)
		f := c.server.cloud.(*fakeCloud)
		f.hold = true
		for _, tt := range []struct{ method, url, text string }{
			{"POST", "/instances/" + instanceOf(c) + "/snapshot", "is not copied after 10m0s"},
			{"DELETE", "/snapshots/" + snapshotOf(c), "is not deleted after 10m0s"},
		} {
			if w := c.ask("demo", tt.method, tt.url, nil, ""); w.Code != 504 || !strings.Contains(w.Body.String(), tt.text) {
				t.Errorf("%s: %d %s", tt.url, w.Code, w.Body)
			}
		}
		f.hold, f.broken = false, "no space left"
		if w := c.ask("demo", "POST", "/instances/"+instanceOf(c)+"/snapshot", nil, ""); w.Code != 500 || !strings.Contains(w.Body.String(), `"error":"snapshot: no space left"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// Snapshots arrive as they were.
func TestSnapshotsOverHTTP(t *testing.T) {
	c, f, cl := overHTTP(t, "demo")
	ctx := deadline(t)
	f.CreateInstance(ctx, "demo", spec.InstanceSpec{Name: "vm", Disks: []spec.Disk{{SizeGB: 1}}})
	f.now = f.now.Truncate(time.Second)
	f.hold = true
	id, op, err := cl.Snapshot(ctx, instanceOf(c), true)
	if err != nil || op.Snapshot != id || op.Status.State != spec.OperationStarted {
		t.Fatalf("%s, %+v, %v", id, op, err)
	}
	f.proceed(func(op *spec.Operation) { op.Status.State = spec.OperationDone })
	if _, err := cl.WaitOperation(ctx, op, nil); err != nil {
		t.Fatal(err)
	}
	f.hold = false
	if _, op, err = cl.Sync().Snapshot(ctx, instanceOf(c), false); err != nil || !op.Status.State.Ended() {
		t.Fatalf("%+v, %v", op, err)
	}
	list, err := cl.Snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	same(t, list, f.snapshots)
	list, err = cl.InstanceSnapshots(ctx, instanceOf(c))
	if err != nil {
		t.Fatal(err)
	}
	same(t, list, f.snapshots, cmpopts.IgnoreFields(spec.Snapshot{}, "Namespace", "Node", "Status.Since"))
	if err := cl.DeleteSnapshot(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := cl.WaitSnapshotGone(ctx, id); err != nil {
		t.Error(err)
	}
	if _, err := cl.SnapshotByID(ctx, id); !errors.Is(err, spec.ErrNotFound) {
		t.Error(err)
	}
}

// breaking cuts every answer about a disk short, after some bytes.
type breaking struct {
	next   http.Handler
	after  int
	breaks atomic.Int32 // left
}

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/vda") || b.breaks.Add(-1) < 0 {
		b.next.ServeHTTP(w, r)
		return
	}
	b.next.ServeHTTP(&cut{w, b.after}, r)
}

type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	c.left -= n
	if err == nil && n < len(p) {
		err = errors.New("cut")
	}
	return n, err
}

// A download goes on where it broke off, however often, as long as there is some
// way; and it is whole or an error.
func TestDownloadResumes(t *testing.T) {
	c := withObjects(t)
	f := c.server.cloud.(*fakeCloud)
	f.content = make([]byte, 1<<20+7)
	rand.New(rand.NewSource(1)).Read(f.content)
	b := &breaking{next: c.server, after: 50000}
	h := httptest.NewServer(b)
	t.Cleanup(h.Close)
	cl, err := client.New(client.Config{URL: h.URL, Namespace: "demo", Key: "secret-of-demo",
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t)
	read := func(offset int64) ([]byte, error) {
		t.Helper()
		d, err := cl.OpenSnapshot(ctx, snapshotOf(c), "vda", offset)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if d.Size() != int64(len(f.content)) {
			t.Errorf("size %d", d.Size())
		}
		return io.ReadAll(d)
	}
	for _, offset := range []int64{0, 1, 500000, int64(len(f.content)) - 1, int64(len(f.content))} {
		b.breaks.Store(15)
		if got, err := read(offset); err != nil || !bytes.Equal(got, f.content[offset:]) {
			t.Errorf("from %d: %d bytes, %v", offset, len(got), err)
		}
	}
	b.after = 0
	b.breaks.Store(1 << 30)
	d := &client.Download{}
	if d, err = cl.OpenSnapshot(ctx, snapshotOf(c), "vda", 0); err == nil {
		_, err = io.ReadAll(d)
	}
	if err == nil {
		t.Error("a download without a byte succeeded")
	}
	b.breaks.Store(0)
	if _, err := cl.OpenSnapshot(ctx, snapshotOf(c), "vda", 1<<40); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := cl.OpenSnapshot(ctx, snapshotOf(c), "vdb", 0); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("no such disk: %v", err)
	}
}

// A server that is told to stop ends downloads, so that it can.
func TestDownloadServerStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	r := untilStopped{ctx, bytes.NewReader([]byte("more"))}
	if n, err := r.Read(make([]byte, 4)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d, %v", n, err)
	}
}

// FuzzRange asks for arbitrary ranges: what comes is of the file, or it is refused.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"", "bytes=0-", "bytes=3-5", "bytes=-4", "bytes=5-3", "bytes=0-1,4-5", "bytes=99-", "lines=1-2", "bytes=0-18446744073709551615"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c := withObjects(t)
		w := c.ask("demo", "GET", "/snapshots/"+snapshotOf(c)+"/vda", http.Header{"Range": {header}}, "")
		content := string(c.server.cloud.(*fakeCloud).content)
		switch {
		case w.Code == 200 && w.Body.String() == content, w.Code == 416:
		case w.Code == 206 && strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/byteranges"):
		case w.Code == 206 && strings.Contains(content, w.Body.String()):
		default:
			t.Errorf("%q: %d %q", header, w.Code, w.Body)
		}
	})
}
