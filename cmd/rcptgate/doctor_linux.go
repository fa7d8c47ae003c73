package main

import (
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peerOf tells which process listens at the other end of a connection (SO_PEERCRED of unix(7)); pid
// is 0 if the system does not say.
func peerOf(conn net.Conn) (pid, uid int) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, 0
	}
	_ = raw.Control(func(fd uintptr) { // without it pid stays 0
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid, uid = int(cred.Pid), int(cred.Uid)
		}
	})
	return pid, uid
}

// openFilesOf reads a process's limit of open files.
func openFilesOf(pid int) (limit uint64, ok bool) {
	if pid <= 0 {
		return 0, false
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		rest, found := strings.CutPrefix(line, "Max open files")
		if !found {
			continue
		}
		fields := strings.Fields(rest) // soft, hard, unit; the gate has raised the soft one
		if len(fields) < 2 {
			return 0, false
		}
		limit, err := strconv.ParseUint(fields[0], 10, 64)
		return limit, err == nil
	}
	return 0, false
}
