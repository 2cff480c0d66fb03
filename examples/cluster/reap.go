//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper is the parent of everything: of what it started, and of what that leaves
// behind. Where process 1 is slow to reap orphans, QEMUs that are dead already
// would be waited for.
type reaper struct {
	mu    sync.Mutex
	ended map[int]chan struct{} // by the process that was started
}

func newReaper() (*reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the parent of orphans: %w", err)
	}
	r := &reaper{ended: map[int]chan struct{}{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	go func() {
		for range died {
			r.reap()
		}
	}()
	return r, nil
}

// start starts a command, not to be waited for in another way, and returns what is
// closed when it has ended.
func (r *reaper) start(cmd *exec.Cmd) (ended chan struct{}, err error) {
	r.mu.Lock() // it may end before we know it
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended = make(chan struct{})
	r.ended[cmd.Process.Pid] = ended
	return ended, nil
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended := r.ended[pid]; ended != nil {
			delete(r.ended, pid)
			close(ended)
		}
	}
}

// end kills all processes below this one. Children of the dead become ours.
func (r *reaper) end() {
	r.mu.Lock() // for ever: nothing is started any more
	for {
		for _, pid := range children() {
			syscall.Kill(pid, syscall.SIGKILL) // or it is dead
		}
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}

func children() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is good
	for _, f := range files {
		text, _ := os.ReadFile(f) // of a thread that has ended
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
