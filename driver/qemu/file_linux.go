package qemu

import (
	"io/fs"
	"syscall"
)

func fileGroup(st fs.FileInfo) uint32 { return st.Sys().(*syscall.Stat_t).Gid }
