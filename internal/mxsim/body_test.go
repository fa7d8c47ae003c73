package mxsim

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"testing/iotest"
)

// readBody feeds octets in pieces and returns the reader and how many octets it took.
func readBody(octets []byte, size int) (*bodyReader, int) {
	r := bytes.NewReader(octets)
	br := bufio.NewReaderSize(r, 16)
	if size == 1 {
		br = bufio.NewReaderSize(iotest.OneByteReader(r), 16)
	}
	b := &bodyReader{hash: sha256.New(), limit: defaultMaxMessage, start: true}
	for !b.done {
		if err := b.fill(br, size); err != nil {
			break
		}
	}
	return b, int(b.received)
}

// referenceEnd finds the end of a message the slow and obvious way: the first ".CRLF" at the very
// beginning or after CRLF.
func referenceEnd(octets []byte) int {
	all := append([]byte("\r\n"), octets...)
	i := bytes.Index(all, []byte("\r\n.\r\n"))
	if i < 0 {
		return -1
	}
	return i + len("\r\n.\r\n") - len("\r\n")
}
