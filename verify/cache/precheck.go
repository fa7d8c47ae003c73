package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What of a file's format (bbolt's internal/common) is looked at before bbolt may read it.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltNoFreelist = 0xffffffffffffffff
	boltFreelist   = 0x10 // page flag
	boltHeader     = 16   // of a page
	boltMeta       = 64   // of a meta page, behind the header
	boltIDSize     = 8
)

// errCorrupt is what a file is that was ours and cannot be read.
var errCorrupt = errors.New("the file is garbled")

// errForeign is what a file is that bears no sign of bbolt.
var errForeign = errors.New("the file is no cache")

type boltMetaPage struct {
	pageSize             int64
	root, freelist, high uint64 // pages; high is the first that was never used
	txid                 uint64
}

// precheck refuses what bbolt would take without a look and then stumble over where nobody can catch
// it: it reads a page as mapped memory, believes the counts in it, and makes room for as many; and
// without a list of free pages it walks all of a file in a goroutine that no recover can reach.
func precheck(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", errForeign)
	}
	if info.Size() == 0 {
		return nil // a new one
	}
	meta, err := newestMeta(f)
	if err != nil {
		return err
	}
	pages := uint64(info.Size() / meta.pageSize) //nolint:gosec // both are positive
	switch {
	case meta.high > pages:
		return fmt.Errorf("%w: it is cut: %d of %d pages", errCorrupt, pages, meta.high)
	case meta.root >= meta.high:
		return fmt.Errorf("%w: its root is beyond its end", errCorrupt)
	case meta.freelist == boltNoFreelist, meta.freelist >= meta.high:
		return fmt.Errorf("%w: it has no list of free pages", errCorrupt)
	}
	return checkFreelist(f, meta)
}

// newestMeta finds the newest of both meta pages that are whole. The second begins with the second
// page, whose size only the first tells.
func newestMeta(f *os.File) (best boltMetaPage, err error) {
	err = errForeign
	for _, at := range []int64{0, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16} {
		meta, magic, ok := readMeta(f, at)
		if magic && best.pageSize == 0 {
			err = fmt.Errorf("%w: its first pages", errCorrupt)
		}
		if ok && (best.pageSize == 0 || meta.txid > best.txid) {
			best, err = meta, nil
		}
	}
	return best, err
}

func readMeta(f *os.File, at int64) (meta boltMetaPage, magic, ok bool) {
	var page [boltHeader + boltMeta]byte
	if _, err := f.ReadAt(page[:], at); err != nil {
		return meta, false, false
	}
	order, m := binary.NativeEndian, page[boltHeader:]
	magic = order.Uint32(m) == boltMagic
	sum := fnv.New64a()
	_, _ = sum.Write(m[:boltMeta-boltIDSize]) // never fails (package hash)
	size := int64(order.Uint32(m[8:]))
	if !magic || order.Uint32(m[4:]) != boltVersion || order.Uint64(m[56:]) != sum.Sum64() ||
		size < 1<<9 || size > 1<<16 || size&(size-1) != 0 {
		return meta, magic, false
	}
	return boltMetaPage{
		pageSize: size, root: order.Uint64(m[16:]), freelist: order.Uint64(m[32:]),
		high: order.Uint64(m[40:]), txid: order.Uint64(m[48:]),
	}, true, true
}

// checkFreelist reads the list of free pages as bbolt will: its count is that of the page header, or,
// from 0xFFFF on, the first of its numbers.
func checkFreelist(f *os.File, meta boltMetaPage) error {
	garbled := fmt.Errorf("%w: its list of free pages", errCorrupt)
	at := int64(meta.freelist) * meta.pageSize //nolint:gosec // below the number of pages of the file
	var header [boltHeader + boltIDSize]byte
	if _, err := f.ReadAt(header[:], at); err != nil {
		return errors.Join(garbled, err)
	}
	order := binary.NativeEndian
	count, start := uint64(order.Uint16(header[10:])), at+boltHeader
	if order.Uint64(header[:]) != meta.freelist || order.Uint16(header[8:]) != boltFreelist {
		return garbled
	}
	if count == 0xFFFF {
		count, start = order.Uint64(header[boltHeader:]), start+boltIDSize
	}
	overflow := uint64(order.Uint32(header[12:]))
	room := (overflow+1)*uint64(meta.pageSize) - boltHeader - boltIDSize //nolint:gosec // positive
	if overflow >= meta.high-meta.freelist || count > meta.high || count*boltIDSize > room+boltIDSize {
		return garbled
	}
	list := io.NewSectionReader(f, start, int64(count)*boltIDSize) //nolint:gosec // bounded above
	return checkPages(list, meta.high, garbled)
}

// checkPages holds that the numbers rise, from 2 to below high.
func checkPages(list io.Reader, high uint64, garbled error) error {
	before := uint64(1)
	buf := make([]byte, 1<<16)
	for {
		n, err := io.ReadFull(list, buf)
		for i := 0; i+boltIDSize <= n; i += boltIDSize {
			id := binary.NativeEndian.Uint64(buf[i:])
			if id <= before || id >= high {
				return garbled
			}
			before = id
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && n%boltIDSize == 0:
			return nil
		case err != nil:
			return errors.Join(garbled, err)
		}
	}
}
