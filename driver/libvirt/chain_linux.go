package libvirt

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/shakenfist/cloud/driver/internal/qcow2"
)

// maxChain is how many files may lie under a disk.
const maxChain = 32

// findChain follows a disk's backing files, which are to be in the directories
// within. All are stated to libvirt, so that no format is guessed and nothing else
// is opened.
func findChain(path, format string, within []string) ([]layer, error) {
	chain := []layer{} // not nil: the end is known
	for {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		below := qcow2.Backing{}
		if err == nil && !st.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", path)
		}
		if err == nil && format == "qcow2" {
			below, err = qcow2.Below(f, within)
		}
		f.Close()
		if err != nil || below.Path == "" {
			return chain, err
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("more than %d files lie under it", maxChain)
		}
		path, format = below.Path, below.Format
		l := layer{Path: path, Format: format}
		if st, err := os.Stat(path); err == nil {
			l.Common = st.Mode().Perm()&0o004 != 0
		}
		chain = append(chain, l)
	}
}

// mayEnter reports whether a user may pass through a directory, by its mode.
func mayEnter(st fs.FileInfo, user, group int) bool {
	mode := st.Mode().Perm()
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case int(sys.Uid) == user:
		return mode&0o100 != 0
	case int(sys.Gid) == group:
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
