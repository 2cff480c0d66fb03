package fake_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/driver/drivertest"
	"github.com/shakenfist/cloud/driver/fake"
)

// A suite that cannot fail proves nothing: each of these drivers breaks one
// promise, and the suite must notice it in the rule that is about it.
var broken = map[string]struct {
	rule string
	make func(*fake.Hypervisor) driver.Hypervisor
}{
	"destroys only what exists": {"NotFound", func(h *fake.Hypervisor) driver.Hypervisor { return strictDestroy{h} }},
	"takes any spec twice":      {"CreateDifferent", func(h *fake.Hypervisor) driver.Hypervisor { return anySpec{h} }},
	"keeps the caller's slices": {"CreateCopies", func(h *fake.Hypervisor) driver.Hypervisor { return &shares{Hypervisor: h} }},
	"ignores contexts":          {"Cancelled", func(h *fake.Hypervisor) driver.Hypervisor { return noContext{h} }},
	"restarts at every Start":   {"Start", func(h *fake.Hypervisor) driver.Hypervisor { return restarts{h} }},
	"stops only what runs":      {"Stop", func(h *fake.Hypervisor) driver.Hypervisor { return strictStop{h} }},
	"says nothing":              {"Events", func(h *fake.Hypervisor) driver.Hypervisor { return silent{h} }},
	"takes a crash for an end":  {"Crash", func(h *fake.Hypervisor) driver.Hypervisor { return noCrash{h} }},
	"lists nothing":             {"Adopt", func(h *fake.Hypervisor) driver.Hypervisor { return noList{h} }},
	"pauses what is off":        {"Off", func(h *fake.Hypervisor) driver.Hypervisor { return pausesAll{h} }},
	"loses old output":          {"ConsoleLog", func(h *fake.Hypervisor) driver.Hypervisor { return noLog{h} }},
	"has a black screen":        {"Display", func(h *fake.Hypervisor) driver.Hypervisor { return black{h} }},
	"shows what has no screen":  {"DisplayNone", func(h *fake.Hypervisor) driver.Hypervisor { return showsAll{h} }},
}

type strictDestroy struct{ *fake.Hypervisor }

func (b strictDestroy) Destroy(ctx context.Context, id string) error {
	if _, err := b.Inspect(ctx, id); err != nil {
		return err
	}
	return b.Hypervisor.Destroy(ctx, id)
}

type anySpec struct{ *fake.Hypervisor }

func (b anySpec) Create(ctx context.Context, s driver.Spec) error {
	if err := b.Hypervisor.Create(ctx, s); !errors.Is(err, driver.ErrExists) {
		return err
	}
	return nil
}

type shares struct {
	*fake.Hypervisor
	first *driver.Spec
}

func (b *shares) Create(ctx context.Context, s driver.Spec) error {
	if b.first == nil {
		b.first = &s
	} else if s.ID == b.first.ID && !s.Equal(*b.first) {
		return driver.ErrExists
	}
	return b.Hypervisor.Create(ctx, s)
}

type noContext struct{ *fake.Hypervisor }

func (b noContext) Start(_ context.Context, id string) error {
	return b.Hypervisor.Start(context.Background(), id)
}

type restarts struct{ *fake.Hypervisor }

func (b restarts) Start(ctx context.Context, id string) error {
	b.Hypervisor.Stop(ctx, id, driver.Force)
	return b.Hypervisor.Start(ctx, id)
}

type strictStop struct{ *fake.Hypervisor }

func (b strictStop) Stop(ctx context.Context, id string, mode driver.StopMode) error {
	if st, err := b.Inspect(ctx, id); err == nil && !st.State.On() {
		return driver.ErrState
	}
	return b.Hypervisor.Stop(ctx, id, mode)
}

type silent struct{ *fake.Hypervisor }

func (b silent) Events(ctx context.Context) (driver.EventStream, error) {
	return fake.NewHost(fake.Config{}).Hypervisor().Events(ctx)
}

type noCrash struct{ *fake.Hypervisor }

func (b noCrash) Inspect(ctx context.Context, id string) (driver.Status, error) {
	st, err := b.Hypervisor.Inspect(ctx, id)
	if st.State == driver.Crashed {
		st.State = driver.Stopped
	}
	return st, err
}

type noList struct{ *fake.Hypervisor }

func (b noList) List(context.Context) ([]driver.Status, error) { return nil, nil }

type pausesAll struct{ *fake.Hypervisor }

func (b pausesAll) Pause(ctx context.Context, id string) error {
	if err := b.Hypervisor.Pause(ctx, id); !errors.Is(err, driver.ErrState) {
		return err
	}
	return nil
}

type noLog struct{ *fake.Hypervisor }

func (b noLog) ConsoleLog(ctx context.Context, id string, offset int64, p []byte) (int, int64, error) {
	n, end, err := b.Hypervisor.ConsoleLog(ctx, id, offset, p)
	return min(n, 60), end, err
}

type black struct{ *fake.Hypervisor }

func (b black) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	c, err := b.Hypervisor.Display(ctx, id)
	return &dark{ReadWriteCloser: c}, err
}

// dark zeroes all that follows the handshake with the fake's screen.
type dark struct {
	io.ReadWriteCloser
	read int
}

func (d *dark) Read(p []byte) (int, error) {
	const handshake, head = 12 + 2 + 4 + 24, 16
	if d.read < handshake && len(p) > handshake-d.read {
		p = p[:handshake-d.read]
	}
	n, err := d.ReadWriteCloser.Read(p)
	d.read += n
	if len(p) > head {
		clear(p[:n])
	}
	return n, err
}

type showsAll struct{ *fake.Hypervisor }

func (b showsAll) Display(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	c, err := b.Hypervisor.Display(ctx, id)
	if errors.Is(err, driver.ErrInvalid) {
		return &dark{}, nil
	}
	return c, err
}

// TestSuiteNotices runs the suite on each broken driver in a process of its own,
// which must fail.
func TestSuiteNotices(t *testing.T) {
	for name, b := range broken {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestBroken$/^"+b.rule+"$")
			cmd.Env = append(os.Environ(), "SF_BROKEN_DRIVER="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBroken/"+b.rule) {
				t.Errorf("rule %s did not notice: %v\n%s", b.rule, err, out)
			}
		})
	}
}

// TestBroken is the other side of TestSuiteNotices.
func TestBroken(t *testing.T) {
	b, ok := broken[os.Getenv("SF_BROKEN_DRIVER")]
	if !ok {
		return // nothing to break: TestSuiteNotices runs this with a driver named
	}
	cfg := suiteConfig(b.make)
	cfg.Patience = 500 * time.Millisecond
	drivertest.Run(t, cfg)
}
