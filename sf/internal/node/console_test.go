package node

import (
	"context"
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
