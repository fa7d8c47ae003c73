//go:build !linux

package esmtp

import (
	"errors"
	"net"
)

// Direct returns nc. It is for Linux.
func Direct(nc net.Conn) net.Conn { return nc }

// ReadSocket is for Linux.
func ReadSocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
