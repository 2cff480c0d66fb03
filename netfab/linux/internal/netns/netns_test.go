//go:build linux

package netns

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/shakenfist/cloud/sf/sftest/need"
	"golang.org/x/sys/unix"
)

// However many prepare a directory at the same moment, it is mounted once.
func TestPrepareDirAtOnce(t *testing.T) {
	need.Root(t)
	for range 200 {
		dir := t.TempDir()
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				<-start
				if err := PrepareDir(dir); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(mounts), " "+dir+" "); n != 1 {
			t.Errorf("it is mounted %d times", n)
		}
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
	}
}
