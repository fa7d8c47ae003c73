//go:build unix

package cache

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the lock that bbolt takes (flock, exclusive), at once or not at all. bbolt then finds
// that it has it.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
