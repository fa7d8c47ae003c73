package mx

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

const (
	// filesEvery is the shortest time between two looks at the files of a list.
	filesEvery = 5 * time.Second
	// maxListFile bounds a file of domains: room for a million of them.
	maxListFile = 32 << 20
)

// Domains is the list internal_domains. Each entry is one of
//
//	example.com      this domain
//	.example.com     its subdomains, at any depth, and not itself
//	[192.0.2.1]      an address literal
//	file:/path       entries of these forms from a file, one a line
//
// In a file, the first word of a line counts, so that the lookup tables of Postfix can be read as
// they are; empty lines and those beginning with # are passed over. Files are looked at again
// every 5 s. When a changed file has a fault, the list stays as it was and [Domains.Err] tells.
//
// Names are folded to lower-case A-labels. It is safe for concurrent use; a nil list is empty.
type Domains struct {
	fixed entries
	files []string

	current atomic.Pointer[entries] // fixed and files together
	next    atomic.Int64            // when to look at the files, in Unix nanoseconds

	mu     sync.Mutex
	stamps []stamp
	err    error
	log    *slog.Logger // may be nil
}

// entries holds exact names as they are and parents of subdomains with their leading dot.
type entries map[string]struct{}

// stamp is what a file looked like when it was read.
type stamp struct {
	changed time.Time
	size    int64
}

// NewDomains reads the list, and the files it names. The error tells the entry, for a file also
// the line, and what to write instead.
func NewDomains(list []string) (*Domains, error) {
	d := &Domains{fixed: make(entries)}
	for _, entry := range list {
		if path, ok := strings.CutPrefix(entry, "file:"); ok {
			if !filepath.IsAbs(path) {
				return nil, fmt.Errorf("%q: write the path from the root, as in file:/etc/…", entry)
			}
			d.files = append(d.files, path)
			continue
		}
		if err := d.fixed.add(entry); err != nil {
			return nil, err
		}
	}
	if err := d.load(); err != nil {
		return nil, err
	}
	d.next.Store(time.Now().Add(filesEvery).UnixNano())
	return d, nil
}

// Match reports whether the list holds the domain, which is an A-label domain in lower case as
// esmtp.Address.ASCIIDomain gives it.
func (d *Domains) Match(asciiDomain string) bool {
	if d == nil || asciiDomain == "" {
		return false
	}
	d.refresh()
	set := *d.current.Load()
	if len(set) == 0 {
		return false
	}
	if _, ok := set[asciiDomain]; ok && asciiDomain[0] != '.' {
		return true
	}
	for i := range len(asciiDomain) {
		if asciiDomain[i] == '.' && i > 0 {
			if _, ok := set[asciiDomain[i:]]; ok {
				return true
			}
		}
	}
	return false
}

// Len is the number of entries now.
func (d *Domains) Len() int {
	if d == nil {
		return 0
	}
	return len(*d.current.Load())
}

// LogTo has changes of files logged, and why they were not taken over.
func (d *Domains) LogTo(log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = log
}

// Err tells why the last change of a file was not taken over; nil if all is well.
func (d *Domains) Err() error {
	if d == nil {
		return nil
	}
	d.refresh()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// refresh looks at the files when it is time. One caller does it; the others go on with what is
// there.
func (d *Domains) refresh() {
	if len(d.files) == 0 {
		return
	}
	due, now := d.next.Load(), time.Now()
	if now.UnixNano() < due || !d.next.CompareAndSwap(due, now.Add(filesEvery).UnixNano()) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed() || d.err != nil {
		before := d.err
		d.err = d.load()
		d.report(before)
	}
}

// report logs the outcome of a load, a lasting fault only once.
func (d *Domains) report(before error) {
	switch {
	case d.log == nil:
	case d.err == nil:
		d.log.Info("internal domains read again", "entries", len(*d.current.Load()))
	case before == nil || before.Error() != d.err.Error():
		d.log.Warn("changed list of internal domains is not taken over; the old one stays",
			"error", d.err.Error(), "fix", "correct the file; it is read again by itself")
	}
}

func (d *Domains) changed() bool {
	for i, path := range d.files {
		info, err := os.Stat(path)
		if err != nil || !info.ModTime().Equal(d.stamps[i].changed) ||
			info.Size() != d.stamps[i].size {
			return true
		}
	}
	return false
}

// load reads all files and, if they are sound, puts the new list in place.
func (d *Domains) load() error {
	all := make(entries, len(d.fixed))
	for e := range d.fixed {
		all[e] = struct{}{}
	}
	stamps := make([]stamp, 0, len(d.files))
	for _, path := range d.files {
		s, err := all.addFile(path)
		if err != nil {
			return err
		}
		stamps = append(stamps, s)
	}
	d.stamps = stamps
	d.current.Store(&all)
	return nil
}

func (e entries) addFile(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	if info.Size() > maxListFile {
		return stamp{}, fmt.Errorf("%s: larger than %d octets: is it a list of domains?", path,
			maxListFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return stamp{}, err
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		words := strings.Fields(string(text))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if strings.HasPrefix(words[0], "file:") {
			return stamp{}, fmt.Errorf("%s:%d: a list in a file cannot name further files", path, line)
		}
		if err := e.add(words[0]); err != nil {
			return stamp{}, fmt.Errorf("%s:%d: %w", path, line, err)
		}
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

func (e entries) add(entry string) error {
	name, subdomains := strings.CutPrefix(entry, ".")
	switch {
	case strings.HasPrefix(entry, "*."):
		return fmt.Errorf("%q: for all subdomains write %q", entry, entry[1:])
	case strings.Contains(entry, "@"):
		return fmt.Errorf("%q: an address; write its domain", entry)
	case strings.Contains(entry, ":/"):
		return fmt.Errorf("%q: a Postfix table; `rcptgate internal-domains --from-postfix` lists it",
			entry)
	}
	ascii, err := foldDomain(name)
	if err != nil {
		return fmt.Errorf("%q: not a domain (%w); write it like example.com, or .example.com for "+
			"its subdomains", entry, err)
	}
	if subdomains {
		ascii = "." + ascii
	}
	e[ascii] = struct{}{}
	return nil
}

var errNoDomain = errors.New("no domain")

// foldDomain gives the form in which esmtp.Address.ASCIIDomain has a domain, by asking it.
func foldDomain(name string) (string, error) {
	a, err := esmtp.ParseAddress("postmaster@"+name, true)
	if err != nil {
		return "", err
	}
	if a.ASCIIDomain() == "" {
		return "", errNoDomain
	}
	return a.ASCIIDomain(), nil
}
