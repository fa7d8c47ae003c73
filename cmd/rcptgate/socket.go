package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// socket is an open listener.
type socket struct {
	net.Listener
	place     place
	inherited bool        // from the service manager
	removed   atomic.Bool // taken out of the configuration: its end is no fault

	pausing sync.Once
	paused  chan struct{} // closed: take no more connections
	parking sync.Once
	parked  chan struct{} // closed: Accept takes none any more
	closing sync.Once
	closed  chan struct{}
}

func newSocket(l net.Listener, p place, inherited bool) *socket {
	return &socket{
		Listener: l, place: p, inherited: inherited,
		paused: make(chan struct{}), parked: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Accept waits for the next connection, and after Pause for Close.
func (s *socket) Accept() (net.Conn, error) {
	for {
		select {
		case <-s.paused:
			s.parking.Do(func() { close(s.parked) })
			<-s.closed
			return nil, net.ErrClosed
		default:
		}
		conn, err := s.Listener.Accept()
		if err != nil {
			select {
			case <-s.paused: // it was woken up
				continue
			default:
			}
		}
		return conn, err
	}
}

// Pause takes no more connections and returns when the one taken last is in the hands of whoever
// serves the listener (who calls Accept again only then), or when ctx ends. Close alone would take
// connections out of the kernel and drop them without a word; now they wait there, for the next
// process if the service manager holds the socket.
func (s *socket) Pause(ctx context.Context) {
	s.pausing.Do(func() { close(s.paused) })
	if l, ok := s.Listener.(interface{ SetDeadline(t time.Time) error }); ok {
		_ = l.SetDeadline(time.Unix(1, 0)) // wakes Accept
	}
	select {
	case <-s.parked:
	case <-ctx.Done():
	}
}

// Close closes the listener. That it is closed already is no fault: who serves it closes it too.
func (s *socket) Close() (err error) {
	s.closing.Do(func() {
		close(s.closed)
		err = s.Listener.Close()
	})
	return err
}
