package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// guardSocket is where the guard listens, in the data directory.
const guardSocket = "guard.sock"

// guardPatience is for an answer of the guard, and for one to start.
const guardPatience = 5 * time.Second

// guard is the daemon's hold on the process that guards its machines: sf.Guard.
type guard struct {
	socket string
	start  func(ctx context.Context) error // starts a guard
	mu     sync.Mutex
}

// Keep lets machines run for d. A guard that is not there is started.
func (g *guard) Keep(ctx context.Context, d time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	order := "keep " + strconv.FormatInt(d.Milliseconds(), 10)
	if tell(ctx, g.socket, order) == nil {
		return nil
	}
	if err := g.start(ctx); err != nil {
		return fmt.Errorf("start a guard for the machines: %w", err)
	}
	return tell(ctx, g.socket, order)
}

// tell says one thing to a guard and waits for its word.
func tell(ctx context.Context, socket, order string) error {
	ctx, cancel := context.WithTimeout(ctx, guardPatience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
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

// post is a guard at work: a dead-man's switch.
type post struct {
	fire  func()
	mu    sync.Mutex
	timer *time.Timer
	done  chan struct{}
}

// serve follows orders until it is told to quit, or the listener is closed.
func (p *post) serve(l net.Listener) error {
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
		go p.hear(l, c)
	}
}

func (p *post) hear(l net.Listener, c net.Conn) {
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
		p.keep(time.Duration(ms) * time.Millisecond)
	case verb == "quit":
		p.mu.Lock()
		if p.timer != nil {
			p.timer.Stop()
		}
		select {
		case <-p.done:
		default:
			close(p.done)
		}
		p.mu.Unlock()
		defer l.Close()
	default:
		fmt.Fprintf(c, "what is %q?\n", strings.TrimSpace(line))
		return
	}
	fmt.Fprintln(c, "ok")
}

func (p *post) keep(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.fire)
		return
	}
	p.timer.Reset(d)
}
