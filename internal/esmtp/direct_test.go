//go:build linux

package esmtp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// pair is a direct connection and its peer.
func pair(t *testing.T) (net.Conn, *net.TCPConn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	direct := esmtp.Direct(nc)
	t.Cleanup(func() { _, _ = direct.Close(), peer.Close() })
	if direct == nc {
		t.Fatal("not direct")
	}
	return direct, peer.(*net.TCPConn)
}

// TestDirectMoves: what goes in comes out, in both directions at the same time, also when the
// socket's buffers are full.
func TestDirectMoves(t *testing.T) {
	direct, peer := pair(t)
	for _, nc := range []net.Conn{direct, peer} {
		if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	data := make([]byte, 8<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	errs := make(chan error, 4)
	for _, c := range []struct{ from, to net.Conn }{{direct, peer}, {peer, direct}} {
		go func() {
			n, err := c.from.Write(data)
			if err == nil && n != len(data) {
				err = io.ErrShortWrite
			}
			errs <- err
		}()
		go func() {
			got := make([]byte, len(data))
			_, err := io.ReadFull(c.to, got)
			if err == nil && !bytes.Equal(got, data) {
				err = errors.New("other octets")
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestDirectPieces: pieces arrive in order, also when the socket's buffer is full in one of them.
func TestDirectPieces(t *testing.T) {
	direct, peer := pair(t)
	for _, nc := range []net.Conn{direct, peer} {
		if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	c := esmtp.NewClient(direct)
	queued := []byte("MAIL FROM:<>\r\n")
	for _, size := range []int{1, 5000, 70_000, 9 << 20} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		end := []byte(".\r\n")
		sent := make(chan error)
		go func() {
			c.QueueN(queued, 0)
			sent <- c.WriteEnd(t.Context(), data, end)
		}()
		want := slices.Concat(queued, data, end)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d octets: other ones came; %v", size, err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
	_ = peer.SetLinger(0)
	_ = peer.Close()
	var err error
	for err == nil {
		err = c.WriteEnd(t.Context(), make([]byte, 5000), []byte(".\r\n"))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
}

// TestDirectErrors: they are the ones of net.
func TestDirectErrors(t *testing.T) {
	buf := make([]byte, 10)
	big := make([]byte, 16<<20)
	for name, c := range map[string]struct {
		prepare func(direct net.Conn, peer *net.TCPConn)
		act     func(net.Conn) error
		want    error
		timeout bool
	}{
		"end": {
			prepare: func(_ net.Conn, peer *net.TCPConn) { _ = peer.Close() },
			act:     func(nc net.Conn) error { _, err := nc.Read(buf); return err }, want: io.EOF,
		},
		"reset": {
			prepare: func(_ net.Conn, peer *net.TCPConn) { _ = peer.SetLinger(0); _ = peer.Close() },
			act:     func(nc net.Conn) error { _, err := nc.Read(buf); return err }, want: syscall.ECONNRESET,
		},
		"closed": {
			prepare: func(direct net.Conn, _ *net.TCPConn) { _ = direct.Close() },
			act:     func(nc net.Conn) error { _, err := nc.Read(buf); return err }, want: net.ErrClosed,
		},
		"closed for writing": {
			prepare: func(direct net.Conn, _ *net.TCPConn) { _ = direct.Close() },
			act:     func(nc net.Conn) error { _, err := nc.Write(buf); return err }, want: net.ErrClosed,
		},
		"read timeout": {
			prepare: func(direct net.Conn, _ *net.TCPConn) { _ = direct.SetReadDeadline(time.Now().Add(time.Millisecond)) },
			act:     func(nc net.Conn) error { _, err := nc.Read(buf); return err },
			want:    os.ErrDeadlineExceeded, timeout: true,
		},
		"write timeout": {
			prepare: func(direct net.Conn, _ *net.TCPConn) {
				_ = direct.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			},
			act: func(nc net.Conn) error {
				n, err := nc.Write(big)
				if n == 0 || n == len(big) {
					return fmt.Errorf("%d octets written", n)
				}
				return err
			},
			want: os.ErrDeadlineExceeded, timeout: true,
		},
		"nothing to do": {
			prepare: func(net.Conn, *net.TCPConn) {},
			act:     func(nc net.Conn) error { _, err := nc.Write(nil); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			direct, peer := pair(t)
			c.prepare(direct, peer)
			err := c.act(direct)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			var ne net.Error
			if c.want != nil && c.want != io.EOF && !errors.As(err, &ne) { //nolint:errorlint // the value itself
				t.Errorf("%T is not a net.Error", err)
			} else if c.timeout && !ne.Timeout() {
				t.Error("not a timeout")
			}
		})
	}
}

// TestDirectOthers: what is not TCP stays as it is.
func TestDirectOthers(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if esmtp.Direct(a) != a {
		t.Error("a pipe was wrapped")
	}
}

// TestDirectWithoutGarbage: neither reading nor writing allocates.
func TestDirectWithoutGarbage(t *testing.T) {
	direct, peer := pair(t)
	buf := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := direct.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, buf); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(direct, buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
