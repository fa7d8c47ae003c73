package cache

import (
	"go.etcd.io/bbolt"
)

// What tests of other faults need to see, or to bring about.

// FileVersion is the version of files that this package writes.
const FileVersion = fileVersion

// KeepAside is how many files of one kind are kept aside.
const KeepAside = keepAside

// SetFileVersion makes a closed file one of another version.
func SetFileVersion(path string, version byte) error {
	return edit(path, func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket()).Put(metaVersion(), []byte{version})
	})
}

// EditValue changes the sealed value of a key in a closed file.
func EditValue(path string, b Bucket, key []byte, change func(sealed []byte) []byte) error {
	return edit(path, func(tx *bbolt.Tx) error {
		in := tx.Bucket([]byte(b.String()))
		return in.Put(key, change(append([]byte(nil), in.Get(key)...)))
	})
}

func edit(path string, fn func(tx *bbolt.Tx) error) error {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.Update(fn)
}

// Build writes a file of n sealed verdicts in the order of their keys, much faster than Put, for
// benchmarks of large files.
func Build(path string, secret []byte, n int, value []byte, expire uint32, key func(i int) []byte) error {
	f, err := openFile(path, newKeys(secret).id())
	if err != nil {
		return err
	}
	f.db.NoSync = true
	const each = 100_000
	for from := 0; from < n; from += each {
		err = f.db.Update(func(tx *bbolt.Tx) error {
			in := tx.Bucket([]byte(Verdicts.String()))
			in.FillPercent = 0.7 // as after inserts in random order
			for i := from; i < min(n, from+each); i++ {
				k := key(i)
				if err := in.Put(k, seal(Verdicts, k, value, expire)); err != nil {
					return err
				}
			}
			counts := [bucketEnd]int64{Verdicts: int64(min(n, from+each))}
			return saveCounts(tx, &counts)
		})
		if err != nil {
			return err
		}
	}
	if err := f.db.Sync(); err != nil {
		return err
	}
	return f.db.Close()
}
