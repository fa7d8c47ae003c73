package feedback

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// headSize octets from its beginning tell a log file from others: two lines with their times.
	headSize = 512
	// sureHead octets are enough to know a file by, without its inode number: a time stamp, a
	// host and a label. Logs are not rotated twice in a second.
	sureHead = 40
	// maxSiblings bounds the rotated files that are looked at.
	maxSiblings = 64
)

// head is the first octets of a file.
type head struct{ octets []byte }

func (h *head) full() bool { return len(h.octets) == headSize }
func (h *head) size() int  { return len(h.octets) }

func (h *head) sum() string {
	sum := sha256.Sum256(h.octets)
	return hex.EncodeToString(sum[:])
}

// grow takes in what the file has by now.
func (h *head) grow(file *os.File) error {
	if h.full() {
		return nil
	}
	b, err := readHead(file, headSize)
	if err == nil {
		h.octets = b
	}
	return err
}

// matches reports whether the file still begins so.
func (h *head) matches(file *os.File) (bool, error) {
	b, err := readHead(file, len(h.octets))
	return bytes.Equal(b, h.octets), err
}

func readHead(file *os.File, size int) ([]byte, error) {
	b := make([]byte, size)
	n, err := file.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// place is a position in a file that may have another name by the time it is looked for.
type place struct {
	File     string `json:"file,omitempty"` // its name then, symbolic links resolved
	Inode    uint64 `json:"inode,omitempty"`
	Offset   int64  `json:"offset"`         // where the next line begins
	Skip     bool   `json:"skip,omitempty"` // in the middle of a line that is too long
	Head     string `json:"head"`           // SHA-256 of the first HeadSize octets
	HeadSize int    `json:"head_size"`
}

// parsePlace returns nil for what is no position.
func parsePlace(position []byte) *place {
	p := new(place)
	if len(position) == 0 || json.Unmarshal(position, p) != nil || p.Offset < 0 || p.Head == "" ||
		p.HeadSize < 0 || p.HeadSize > headSize {
		return nil
	}
	return p
}

func (p place) encode() []byte {
	b, _ := json.Marshal(p) // of strings and numbers: it cannot fail
	return b
}

// find opens the file of the position: path as before, or rotated away since.
func (p place) find(path string) (*os.File, bool) {
	candidates := []string{path}
	if p.File != "" && p.File != path {
		candidates = append(candidates, p.File) // a symbolic link may have moved on
	}
	for _, s := range siblings(path) {
		candidates = append(candidates, s.path)
	}
	var copied *os.File
	for _, name := range candidates {
		file, sameInode := p.open(name)
		switch {
		case file == nil:
		case sameInode:
			if copied != nil {
				_ = copied.Close() // it was only read
			}
			return file, true
		case copied == nil && p.HeadSize >= sureHead:
			copied = file
		default:
			_ = file.Close() // it was only read
		}
	}
	return copied, copied != nil
}

// findCopy opens the copy that was made before the file, which is now now, was truncated.
func (p place) findCopy(path string, now os.FileInfo) (*os.File, bool) {
	if p.HeadSize < sureHead {
		return nil, false
	}
	for _, s := range siblings(path) {
		if os.SameFile(s.info, now) {
			continue
		}
		if file, _ := p.open(s.path); file != nil {
			return file, true
		}
	}
	return nil, false
}

// open opens name if it can be the file of the position.
func (p place) open(name string) (file *os.File, sameInode bool) {
	file, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, false
	}
	info, err := file.Stat()
	if err == nil && info.Mode().IsRegular() && info.Size() >= p.Offset {
		octets, err := readHead(file, p.HeadSize)
		h := head{octets}
		if err == nil && len(octets) == p.HeadSize && h.sum() == p.Head {
			return file, p.Inode != 0 && inodeOf(info) == p.Inode
		}
	}
	_ = file.Close() // it was only read
	return nil, false
}

// sibling is a file that the log was rotated to.
type sibling struct {
	path string
	mark string // "1", "20261124"
	info os.FileInfo
}

// siblings lists the uncompressed files that path was rotated to, oldest first: "mail.log.1",
// "mail.log-20261124", "mail-20261124.log", "maillog.20261124-110000".
func siblings(path string) []sibling {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []sibling
	for _, e := range entries {
		name := e.Name()
		mark, ok := strings.CutPrefix(name, base)
		if !ok && ext != "" {
			if mark, ok = strings.CutPrefix(name, stem); ok {
				mark, ok = strings.CutSuffix(mark, ext)
			}
		}
		if !ok || !isMark(mark) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		found = append(found, sibling{filepath.Join(dir, name), mark[1:], info})
	}
	slices.SortStableFunc(found, func(a, b sibling) int {
		return a.info.ModTime().Compare(b.info.ModTime())
	})
	return found[max(0, len(found)-maxSiblings):]
}

// isMark reports what rotation puts behind a name: a number or a time. "mail.err" and
// "mail.log.2.gz" are something else.
func isMark(s string) bool {
	if len(s) < 2 || s[0] != '.' && s[0] != '-' && s[0] != '_' || !isDigit(s[1]) {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) && strings.IndexByte("-_.:T", s[i]) < 0 {
			return false
		}
	}
	return true
}

// between reports whether s was the log after the file here, and before now.
func (s sibling) between(here, now os.FileInfo) bool {
	return !os.SameFile(s.info, here) && !os.SameFile(s.info, now) && s.info.Size() > 0 &&
		s.info.ModTime().After(here.ModTime()) && !s.info.ModTime().After(now.ModTime())
}
