package policy

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

const (
	// listEvery is the shortest time between two looks at the file of a list.
	listEvery = 5 * time.Second
	// listSettle is how long a file must have been left alone before it is read again: whoever
	// writes it in place may not be done.
	listSettle = time.Second

	maxListFile    = 64 << 20
	maxListEntries = 1_000_000
	maxLists       = 100
)

// list is one of Config.Lists: the entries of a file, for x in lists.NAME. A look-up never waits
// for the file: every few seconds one of them has it looked at behind.
type list struct {
	name, path string
	log        *slog.Logger
	current    atomic.Pointer[words]
	next       atomic.Int64 // when to look at the file, in Unix nanoseconds

	mu   sync.Mutex
	info os.FileInfo // of the file as it was read
	read time.Time
	err  error // why a change is not taken over
}

// ListStatus is what a list is at the moment, for people.
type ListStatus struct {
	Name, Path string
	Entries    int
	Read       time.Time // when the file was last read
	Err        error     // why a change of the file is not taken over; nil if all is well
}

// openLists reads the files. The faults are those of Config.Lists.
func openLists(paths map[string]string, log *slog.Logger) (map[string]*list, RuleErrors) {
	var faults RuleErrors
	fail := func(name, detail, hint string) {
		faults = append(faults, &RuleError{
			Index: -1, Field: "lists." + name, Detail: detail, Hint: hint,
		})
	}
	lists := make(map[string]*list, len(paths))
	for _, name := range sortedKeys(paths) {
		path := paths[name]
		// A list whose file has a fault is there all the same: rules that use it have none.
		l := &list{name: name, path: path, log: log}
		lists[name] = l
		switch {
		case len(paths) > maxLists:
			fail(name, fmt.Sprintf("%d lists, more than %d", len(paths), maxLists),
				"join lists that the same rules use")
			return lists, faults
		case !isWord(name):
			fail(name, fmt.Sprintf("%q cannot stand in a condition", name),
				"write a name of small letters, digits and _ that begins with a letter")
		case !filepath.IsAbs(path):
			fail(name, fmt.Sprintf("%q is no path from the root", path),
				`write it as in "/etc/rcptgate/`+name+`"`)
		default:
			if err := l.load(); err != nil {
				fail(name, err.Error(), "correct the file: one entry a line, # for comments")
			}
		}
	}
	return lists, faults
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// isWord says whether a name can stand in a condition as it is.
func isWord(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// match says whether the list has the value. See words.match.
func (l *list) match(value string) bool {
	now := time.Now().UnixNano()
	if due := l.next.Load(); now >= due && l.next.CompareAndSwap(due, now+int64(listEvery)) {
		go l.refresh()
	}
	return l.current.Load().match(value)
}

// refresh takes over a file that has changed.
func (l *list) refresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := os.Stat(l.path)
	if err == nil {
		if age := time.Since(info.ModTime()); age >= 0 && age < listSettle {
			return
		}
		if l.err == nil && l.info != nil && os.SameFile(info, l.info) &&
			info.Size() == l.info.Size() && info.ModTime().Equal(l.info.ModTime()) {
			return
		}
	}
	before := l.err
	if l.err = l.load(); l.err == nil {
		l.log.Info("list of the rules read again", "list", l.name, "path", l.path,
			"entries", l.current.Load().count)
		return
	}
	if before == nil || before.Error() != l.err.Error() {
		l.log.Warn("changed list of the rules is not taken over; the old one stays",
			"list", l.name, "error", l.err.Error(),
			"hint", "correct the file; it is read again by itself")
	}
}

// load reads the file and, if it is sound, puts it in place.
func (l *list) load() error {
	info, err := os.Stat(l.path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a file", l.path)
	}
	if info.Size() > maxListFile {
		return fmt.Errorf("%s: larger than %d octets: is it a list?", l.path, maxListFile)
	}
	data, err := os.ReadFile(l.path)
	if err != nil {
		return err
	}
	if len(data) > maxListFile {
		return fmt.Errorf("%s: larger than %d octets: is it a list?", l.path, maxListFile)
	}
	set, line, err := parseList(data)
	if err != nil {
		return fmt.Errorf("%s:%d: %w", l.path, line, err)
	}
	l.current.Store(set)
	l.info, l.read = info, time.Now()
	l.next.Store(time.Now().Add(listEvery).UnixNano())
	return nil
}

func (l *list) status() ListStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := ListStatus{Name: l.name, Path: l.path, Read: l.read, Err: l.err}
	if set := l.current.Load(); set != nil {
		s.Entries = set.count
	}
	return s
}

// parseList reads the entries of a list. The first word of a line counts, so that the lookup tables
// of Postfix can be read as they are; empty lines and those that begin with # are passed over. line
// is where an error is.
func parseList(data []byte) (set *words, line int, err error) {
	text := make([]byte, 1, len(data)+2)
	text[0] = '\n'
	entries := 0
	for raw := range bytes.Lines(data) {
		line++
		word := firstWord(raw)
		if len(word) == 0 || word[0] == '#' {
			continue
		}
		if entries++; entries > maxListEntries {
			return nil, line, fmt.Errorf("more than %d entries", maxListEntries)
		}
		if text, err = appendEntry(text, word); err != nil {
			return nil, line, err
		}
		text = append(text, '\n')
	}
	return newWords(string(text)), 0, nil
}

func firstWord(line []byte) []byte {
	const blanks = " \t\r\n"
	line = bytes.TrimLeft(line, blanks)
	if end := bytes.IndexAny(line, blanks); end >= 0 {
		return line[:end]
	}
	return line
}

// appendEntry appends an entry as look-ups compare it: small letters, domains as A-labels, a whole
// domain ("*@example.com") as that domain.
func appendEntry(dst, entry []byte) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(entry, []byte("*@")); ok {
		entry = rest
	}
	at := bytes.LastIndexByte(entry, '@')
	if bytes.IndexByte(entry, '/') >= 0 {
		if _, err := netip.ParsePrefix(string(entry)); err == nil {
			return nil, fmt.Errorf("%q: lists have no networks; write inNetwork(client.addr, %q) in "+
				"the rule", entry, entry)
		}
	}
	switch {
	case len(entry) > maxWord:
		return nil, fmt.Errorf("an entry of %d octets, more than %d", len(entry), maxWord)
	case bytes.HasPrefix(entry, []byte("*.")):
		return nil, fmt.Errorf("%q: for all subdomains write %q", entry, entry[1:])
	case at == 0 || at == len(entry)-1:
		return nil, fmt.Errorf("%q: half an address; write user@example.com, or example.com for all "+
			"of a domain", entry)
	}
	for _, c := range entry {
		if c < ' ' || c == 0x7f {
			return nil, fmt.Errorf("%q: a control character; write text, one entry a line", entry)
		}
	}
	if isASCII(entry) {
		return appendFolded(dst, entry), nil
	}
	return appendInternational(dst, entry, at)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendInternational appends an entry with characters beyond ASCII. In a domain they are compared
// as A-labels, before the @ as they are.
func appendInternational(dst, entry []byte, at int) ([]byte, error) {
	if !utf8.Valid(entry) {
		return nil, fmt.Errorf("%q: not UTF-8", entry)
	}
	domain := string(entry[at+1:])
	name, subdomains := strings.CutPrefix(domain, ".")
	address, err := esmtp.ParseAddress("postmaster@"+name, true)
	if err != nil {
		return nil, fmt.Errorf("%q: not a domain (%w)", domain, err)
	}
	dst = appendFolded(dst, entry[:at+1])
	if subdomains {
		dst = append(dst, '.')
	}
	return append(dst, address.ASCIIDomain()...), nil
}
