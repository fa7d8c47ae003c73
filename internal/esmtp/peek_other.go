//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package esmtp

import "errors"

// peekSocket cannot look into the socket here: only what was read already shows.
func (g *glance) peekSocket(uintptr) { g.err = errors.ErrUnsupported }
