package bulk

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// maxRows bounds a list, and with it memory.
const maxRows = 2_000_000

// noAddress stands for a row whose field is none.
const noAddress = -1

// List is a list that has been read once: what it says is still in its file, and read again when it is
// written. It does not change.
type List struct {
	Dialect Dialect
	Rows    int // without the header
	Faulty  int // of them, those that have no address
	Sum     [sha256.Size]byte

	file    *os.File
	spooled bool
	width   int // of the longest row
	// rows has the number of the address of each row, or noAddress.
	rows      []int32
	addresses []string // as they are asked about, each once
	domains   []domain
}

// domain has the numbers of its addresses.
type domain struct {
	name  string // A-labels, lower case
	items []int32
}

// Open reads the list in a file, or for "-" from stdin, which is copied to a file without a name.
func Open(name string, stdin io.Reader, o ListOptions) (*List, error) {
	l := &List{}
	var err error
	if name == "-" {
		err = l.spool(stdin, o.Spool)
	} else {
		err = l.open(name, o.Spool)
	}
	if err == nil {
		err = l.index(o)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *List) open(name, dir string) error {
	file, err := os.Open(name)
	if err != nil {
		return &listError{
			text: fmt.Sprintf("cannot read the list: %v", err),
			hint: "name a file, or - for standard input",
		}
	}
	info, err := file.Stat()
	switch {
	case err == nil && info.Mode().IsRegular():
		l.file = file
		return nil
	case err == nil && info.IsDir():
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	case err == nil: // a pipe
		err = l.spool(file, dir)
	}
	_ = file.Close()
	return err
}

// spool copies what can be read only once.
func (l *List) spool(from io.Reader, dir string) error {
	file, err := os.CreateTemp(dir, ".rcptgate-check-*")
	if err != nil {
		return fmt.Errorf("cannot keep the list: %w", err)
	}
	l.file, l.spooled = file, true
	_ = os.Remove(file.Name()) // goes with us, however we end; where that cannot be, Close does it
	if _, err := io.Copy(file, from); err != nil {
		return fmt.Errorf("cannot read the list: %w", err)
	}
	return nil
}

// Close ends the use of the list.
func (l *List) Close() {
	if l.file == nil {
		return
	}
	_ = l.file.Close()
	if l.spooled {
		_ = os.Remove(l.file.Name())
	}
}

// Len is how many different addresses there are.
func (l *List) Len() int { return len(l.addresses) }

// Domains is how many domains they have.
func (l *List) Domains() int { return len(l.domains) }

// Duplicates are the rows whose address an earlier row has.
func (l *List) Duplicates() int { return l.Rows - l.Faulty - len(l.addresses) }

// SameFile reports whether the list is read from that file.
func (l *List) SameFile(info os.FileInfo) bool {
	own, err := l.file.Stat()
	return err == nil && os.SameFile(own, info)
}

// each passes the rows to fn, in order, and computes the checksum of all on the way.
func (l *List) each(fn func(r *records, first bool) error) (sum [sha256.Size]byte, err error) {
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return sum, fmt.Errorf("cannot read the list: %w", err)
	}
	digest := sha256.New()
	in := bufio.NewReaderSize(&hashed{from: l.file, digest: digest}, 64<<10)
	if start, err := in.Peek(len(bom)); err == nil && string(start) == bom {
		_, _ = in.Discard(len(bom)) // they were peeked at
	}
	r := newRecords(in, l.Dialect.Delim)
	for first := true; ; first = false {
		err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = fn(r, first)
		}
		if err != nil {
			return sum, err
		}
	}
	digest.Sum(sum[:0])
	return sum, nil
}

type hashed struct {
	from   io.Reader
	digest hash.Hash
}

// Read implements io.Reader.
func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.from.Read(p)
	_, _ = h.digest.Write(p[:n]) // never fails
	return n, err
}

// index reads the list for the first time.
func (l *List) index(o ListOptions) error {
	sample := make([]byte, sampleOctets)
	n, err := l.file.ReadAt(sample, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the list: %w", err)
	}
	if l.Dialect, err = detect(sample[:n], errors.Is(err, io.EOF), o); err != nil {
		return err
	}
	b := indexer{list: l, known: make(map[[16]byte]int32), domains: make(map[string]int)}
	if l.Sum, err = l.each(b.row); err != nil {
		return err
	}
	if len(l.addresses) == 0 {
		return errNoAddresses
	}
	return nil
}

// indexer builds a List.
type indexer struct {
	list    *List
	known   map[[16]byte]int32 // hashes of addresses
	domains map[string]int
	fields  []string
}

func (b *indexer) row(r *records, first bool) error {
	l := b.list
	b.fields = splitRecord(b.fields[:0], r.raw, l.Dialect.Delim)
	l.width = max(l.width, len(b.fields))
	if first && l.Dialect.Header {
		return nil
	}
	if l.Rows++; l.Rows > maxRows {
		return &listError{
			text: fmt.Sprintf("the list has more than %d rows", maxRows),
			hint: "split it, and check the parts one after another",
		}
	}
	if l.Dialect.Column >= len(b.fields) {
		b.faulty()
		return nil
	}
	a, err := parseField(b.fields[l.Dialect.Column])
	if err != nil {
		b.faulty()
		return nil //nolint:nilerr // that is a row without an address
	}
	l.rows = append(l.rows, b.number(a))
	return nil
}

func (b *indexer) faulty() {
	b.list.Faulty++
	b.list.rows = append(b.list.rows, noAddress)
}

// number returns the number of an address, a new one if it was not there yet.
func (b *indexer) number(a esmtp.Address) int32 {
	l := b.list
	sum := sha256.Sum256([]byte(a.Key()))
	key := [16]byte(sum[:16])
	if n, ok := b.known[key]; ok {
		return n
	}
	n := int32(len(l.addresses)) //nolint:gosec // at most maxRows
	b.known[key] = n
	l.addresses = append(l.addresses, a.String())
	name := a.ASCIIDomain()
	at, ok := b.domains[name]
	if !ok {
		at = len(l.domains)
		name = strings.Clone(name)
		b.domains[name] = at
		l.domains = append(l.domains, domain{name: name})
	}
	l.domains[at].items = append(l.domains[at].items, n)
	return n
}

// id names the list in a journal.
func (l *List) id() string { return hex.EncodeToString(l.Sum[:]) }
