package node

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/shakenfist/cloud/driver"
)

// chatter is a console whose guest has always printed more since the last look.
type chatter struct {
	driver.Consoler
	end, read int64
}

func (c *chatter) ConsoleLog(_ context.Context, _ string, offset int64, p []byte) (n int, end int64, err error) {
	c.end += 1 << 20
	n = int(min(int64(len(p)), c.end-offset))
	for k := range p[:n] {
		p[k] = "host login: \n"[(offset+int64(k))%13]
	}
	c.read += int64(n)
	return n, c.end, nil
}

// A look at a console ends, whatever its guest prints meanwhile.
func TestLookEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, s := &chatter{}, &consoleState{}
	got := make(chan int64, 1)
	go func() {
		for range 10 {
			if _, err := s.read(ctx, c, "id"); err != nil {
				t.Error(err)
			}
		}
		got <- c.read
	}()
	select {
	case read := <-got:
		if read > 20*mostOutput {
			t.Errorf("%d bytes were read in ten looks", read)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a look does not end")
	}
}

// worn is a console whose guest has printed a petabyte, of which the last is kept.
type worn struct{ driver.Hypervisor }

const (
	printed = 1 << 50
	kept    = 3 << 20
)

func (worn) Console(context.Context, string) (io.ReadWriteCloser, error) { return nil, driver.ErrState }

func (worn) ConsoleLog(_ context.Context, _ string, offset int64, p []byte) (n int, end int64, err error) {
	if offset < 0 {
		offset += printed
	}
	offset = max(offset, printed-kept)
	n = int(min(int64(len(p)), printed-offset))
	for k := range p[:n] {
		p[k] = byte(offset + int64(k))
	}
	return n, printed, nil
}

// Who asks for all of a console log gets what is kept, and needs no more memory than
// that, however much there once was.
func TestWornLog(t *testing.T) {
	a := &Agent{Config: Config{Hypervisor: worn{}}}
	for ask, want := range map[int64]int{-1: kept, 0: 0, 10: 10, 1 << 20: 1 << 20, kept + 1: kept, printed: kept} {
		log, err := a.ConsoleLog(t.Context(), "id", ask)
		if err != nil || len(log) != want || want > 0 && log[want-1] != 255 {
			t.Errorf("of the last %d bytes there are %d, %v", ask, len(log), err)
		}
	}
}
