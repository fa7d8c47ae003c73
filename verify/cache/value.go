package cache

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// A value on disk is a header and what the caller put:
//
//	octet 0     version of this layout
//	octets 1-4  CRC-32C, little-endian, of the bucket, the key and all that follows
//	octets 5-8  expire, Unix seconds, little-endian
//
// The checksum covers the key, so a page that a fault has moved does not answer for another address.
const (
	valueVersion = 1
	valueHeader  = 9
)

// The limits of what may be stored.
const (
	maxKey   = 64
	maxValue = 4096
)

type valueState int

const (
	valueGood    valueState = iota
	valueNewer              // written by a later version: left alone, and not known here
	valueGarbled            // not what was written
)

func seal(b Bucket, key, value []byte, expire uint32) []byte {
	out := make([]byte, valueHeader, valueHeader+len(value))
	out[0] = valueVersion
	binary.LittleEndian.PutUint32(out[5:], expire)
	out = append(out, value...)
	binary.LittleEndian.PutUint32(out[1:], checksum(b, key, out[5:]))
	return out
}

func unseal(b Bucket, key, sealed []byte) (value []byte, expire uint32, state valueState) {
	switch {
	case len(sealed) == 0:
		return nil, 0, valueGarbled
	case sealed[0] > valueVersion:
		return nil, 0, valueNewer
	case sealed[0] != valueVersion, len(sealed) < valueHeader, len(sealed) > valueHeader+maxValue,
		binary.LittleEndian.Uint32(sealed[1:]) != checksum(b, key, sealed[5:]):
		return nil, 0, valueGarbled
	}
	return sealed[valueHeader:], binary.LittleEndian.Uint32(sealed[5:]), valueGood
}

// castagnoli is the polynomial that CPUs have an instruction for.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func checksum(b Bucket, key, rest []byte) uint32 {
	sum := crc32.Update(uint32(b), castagnoli(), key)
	return crc32.Update(sum, castagnoli(), rest)
}

// seconds is a time as it is stored; what does not fit is cut to what does.
func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), 1<<32-1))
}
