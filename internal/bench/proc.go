package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Tree is a process and all its descendants, read from /proc (Linux). It stands for a server: of
// Postfix, say, master with its daemons.
type Tree struct{ PID int }

// tick is the kernel's USER_HZ, 100 on all architectures that Go runs on.
const tick = time.Second / 100

type process struct {
	parent int
	cpu    time.Duration // its own, and of the children that it has waited for
}

// processes reads all of /proc. Processes that end meanwhile are not there.
func processes() (map[int]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("cannot read /proc; benchmarks need Linux (%w)", os.ErrNotExist)
	}
	all := make(map[int]process, len(files))
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// proc_pid_stat(5): the name, in parentheses, may have any octets in it.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 15 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		var ticks int
		for _, field := range f[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(field)
			ticks += n
		}
		all[pid] = process{parent: parent, cpu: time.Duration(ticks) * tick}
	}
	return all, nil
}

// each calls f for every process of the tree.
func (t Tree) each(f func(pid int, p process)) error {
	all, err := processes()
	if err != nil {
		return err
	}
	if _, ok := all[t.PID]; !ok {
		return fmt.Errorf("process %d has ended", t.PID)
	}
	children := make(map[int][]int)
	for pid, p := range all {
		children[p.parent] = append(children[p.parent], pid)
	}
	todo := []int{t.PID}
	for len(todo) > 0 {
		pid := todo[0]
		todo = append(todo[1:], children[pid]...)
		f(pid, all[pid])
	}
	return nil
}

// CPU is the time that the tree has used so far, of processes that have ended too.
func (t Tree) CPU() (time.Duration, error) {
	var sum time.Duration
	err := t.each(func(_ int, p process) { sum += p.cpu })
	return sum, err
}

// Memory is the proportional set size in octets: shared pages count in parts.
func (t Tree) Memory() (int64, error) {
	var sum int64
	var failed error
	err := t.each(func(pid int, _ process) {
		n, err := memoryOf(pid)
		if err != nil && pid == t.PID {
			failed = err
		}
		sum += n
	})
	if err == nil {
		err = failed
	}
	return sum, err
}

func memoryOf(pid int) (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "Pss:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no Pss line in %s", file.Name())
}

// Files is the number of open descriptors of the process itself.
func (t Tree) Files() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", t.PID))
	return len(entries), err
}

// Threads is the number of threads of the process itself.
func (t Tree) Threads() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.PID))
	return len(entries), err
}

// LoadAverage is what the kernel says of the last minute, as "0.42"; "?" if it says nothing.
func LoadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) > 0 {
		return f[0]
	}
	return "?"
}
