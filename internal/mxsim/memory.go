package mxsim

import (
	"context"
	"net"
	"sync"
)

// Listener is a net.Listener in memory, for the program under test to serve: the other way
// round from [World.DialContext]. It works inside testing/synctest.
type Listener struct {
	addr   net.TCPAddr
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener returns a listener that says it listens at 127.0.0.1:port.
func NewListener(port int) *Listener {
	return &Listener{
		addr:  net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port},
		queue: make(chan net.Conn), closed: make(chan struct{}),
	}
}

// DialFrom connects as a client at this address, and returns when it is accepted.
func (l *Listener) DialFrom(ctx context.Context, client net.Addr) (net.Conn, error) {
	near, far := newPipe(client, &l.addr)
	select {
	case l.queue <- far:
		return near, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &l.addr, Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &l.addr, Err: ctx.Err()}
	}
}

// Accept waits for the next client.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and refuses new clients.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is where the listener says it listens.
func (l *Listener) Addr() net.Addr { return &l.addr }
