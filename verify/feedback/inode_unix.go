//go:build unix

package feedback

import (
	"os"
	"syscall"
)

// inodeOf returns the number of the file in its file system, 0 if it has none.
func inodeOf(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
