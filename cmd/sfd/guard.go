package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// guardSocket is where the guard listens, in the data directory.
const guardSocket = "guard.sock"

// guardPatience is for an answer of the guard, and for one to start.
const guardPatience = 5 * time.Second

// relievePatience is for one that is sent home, which is tried again: the node's session
// waits meanwhile.
const relievePatience = time.Second

// guard is the daemon's hold on the process that guards its machines: sf.Guard.
type guard struct {
	socket string
	start  func(ctx context.Context) error // starts a guard
	mu     sync.Mutex
}

// Keep lets machines run for d. A guard that does not answer is replaced, and an
// earlier one, whosever it was, is relieved only once another stands: machines are
// never without one. One that was merely slow would strike some time later, when
// nobody tells it any more that they may run.
func (g *guard) Keep(ctx context.Context, d time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	order := "keep " + strconv.FormatInt(d.Milliseconds(), 10)
	if tell(ctx, g.socket, order) != nil {
		if err := asideGuard(g.socket); err != nil {
			return err
		}
		if err := g.start(ctx); err != nil {
			return fmt.Errorf("start a guard for the machines: %w", err)
		}
		if err := tell(ctx, g.socket, order); err != nil {
			return err
		}
	}
	return relieveGuards(ctx, g.socket)
}

// asideGuard gives the guard of an earlier daemon, perhaps of another version, another
// name. It stands until it is relieved.
func asideGuard(socket string) error {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.%d", socket, n)
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(socket, aside); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
}

// relieveGuards sends the guards of earlier daemons home.
func relieveGuards(ctx context.Context, socket string) error {
	former, err := filepath.Glob(socket + ".*")
	errs := []error{err}
	for _, f := range former {
		err := tellWithin(ctx, relievePatience, f, "quit")
		if err == nil || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) { // it has ended
			err = os.Remove(f)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tell says one thing to a guard and waits for its word.
func tell(ctx context.Context, socket, order string) error {
	return tellWithin(ctx, guardPatience, socket, order)
}

func tellWithin(ctx context.Context, patience time.Duration, socket, order string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := dialGuard(ctx, socket)
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, order); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && answer != "ok\n" {
		err = fmt.Errorf("the guard of the machines: %s", strings.TrimSpace(answer))
	}
	return err
}

// post is a guard at work: a dead-man's switch. It ends when it is told to, and
// when it has fired: a guard that did its work has nothing left to guard.
type post struct {
	fire  func(told func() bool) // until it has done its work, or told says that it is not to
	mu    sync.Mutex
	timer *time.Timer
	kept  int // orders to keep
	ended bool
	done  chan struct{} // closed when ended
}

// serve follows orders until its end, or until the listener is closed.
func (p *post) serve(l net.Listener) error {
	go func() {
		<-p.done
		l.Close()
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			select {
			case <-p.done:
				return nil
			default:
				return err
			}
		}
		go p.hear(c)
	}
}

func (p *post) hear(c net.Conn) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(guardPatience)) != nil {
		return
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch ms, err := strconv.ParseInt(arg, 10, 64); {
	case verb == "keep" && err == nil:
		if !p.keep(time.Duration(ms) * time.Millisecond) {
			fmt.Fprintln(c, "this guard has ended") // another is to be started
			return
		}
	case verb == "quit":
		p.mu.Lock()
		defer p.mu.Unlock()
		defer p.end()
	default:
		fmt.Fprintf(c, "what is %q?\n", strings.TrimSpace(line))
		return
	}
	fmt.Fprintln(c, "ok")
}

func (p *post) keep(d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false
	}
	p.kept++
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.strike)
	} else {
		p.timer.Reset(d)
	}
	return true
}

// strike fires, and ends unless machines were let run again meanwhile.
func (p *post) strike() {
	kept := p.orders()
	p.fire(func() bool { return p.orders() != kept })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept == kept {
		p.end()
	}
}

func (p *post) orders() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept
}

// end has no order followed any more; p.mu is held.
func (p *post) end() {
	if p.ended {
		return
	}
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
	close(p.done)
}
