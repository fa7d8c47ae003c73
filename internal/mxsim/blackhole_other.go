//go:build !unix

package mxsim

import (
	"context"
	"errors"
	"net"
)

func (w *World) fillQueue(context.Context, net.Listener) error {
	return errors.New("mxsim: a BlackHole on real sockets needs a Unix system")
}
