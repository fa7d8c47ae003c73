//go:build linux || darwin || freebsd

package main

import (
	"io/fs"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownerOf returns the numbers of a file's user and group.
func ownerOf(info fs.FileInfo) (uid, gid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}

// roomAt tells how many octets the disk of a directory has free for ordinary users, and which disk
// it is.
func roomAt(dir string) (free int64, disk string, ok bool) {
	var stat unix.Statfs_t
	if unix.Statfs(dir, &stat) != nil {
		return 0, "", false
	}
	var at unix.Stat_t
	if unix.Stat(dir, &at) != nil {
		return 0, "", false
	}
	//nolint:gosec,unconvert // the types differ between systems, and no disk has 8 EiB
	return int64(stat.Bavail) * int64(stat.Bsize), strconv.FormatUint(uint64(at.Dev), 10), true
}
