package esmtp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// slicer is a connection whose writes wait for leave, octet by octet.
type slicer struct {
	net.Conn
	hold    bool
	waiting bytes.Buffer
}

func (s *slicer) Write(p []byte) (int, error) {
	if s.hold {
		return s.waiting.Write(p)
	}
	return s.Conn.Write(p)
}

// release sends n octets of what was held back.
func (s *slicer) release(t *testing.T, n int) {
	t.Helper()
	if _, err := s.Conn.Write(s.waiting.Next(n)); err != nil {
		t.Error(err)
	}
}

// overTLS is a client and the server's end of it, connected by a socket, with TLS and behind NOOP.
func overTLS(t *testing.T, version uint16) (*Client, *slicer, *tls.Conn) {
	t.Helper()
	cert := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(raw)
	t.Cleanup(func() { c.Close() })
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	slow := &slicer{Conn: theirs}
	server := tls.Server(slow, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, MaxVersion: version,
	})
	go func() {
		_, _ = io.WriteString(server, "220 hello\r\n")
		line, _ := bufio.NewReader(server).ReadString('\n')
		if line == "NOOP\r\n" {
			_, _ = io.WriteString(server, "250 ok\r\n")
		}
	}()
	ctx := t.Context()
	if err := c.Handshake(ctx, unchecked()); err != nil {
		t.Fatal(err)
	}
	wantReply(t, "220 hello")(c.Greeting(ctx))
	wantReply(t, "250 ok")(c.Noop(ctx))
	return c, slow, server
}

// TestInStepTLS: over TLS too, what comes unasked shows, and to look harms nothing.
func TestInStepTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			ctx := t.Context()
			c, slow, server := overTLS(t, version)
			for range 3 {
				if err := c.InStep(ctx); err != nil || !c.Clean() {
					t.Fatal(err)
				}
			}
			c.Queue([]byte("NOOP\r\n"))
			if err := c.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(server, "250 again\r\n"); err != nil {
				t.Fatal(err)
			}
			wantReply(t, "250 again")(c.ReadReply(ctx))

			slow.hold = true
			if _, err := io.WriteString(server, "250 unasked\r\n"); err != nil {
				t.Fatal(err)
			}
			slow.release(t, 3) // less than the header of a record
			for n, _ := c.glance.look(); n == 0; n, _ = c.glance.look() {
				if ctx.Err() != nil {
					t.Fatal("nothing came")
				}
			}
			done := make(chan error)
			go func() { done <- c.InStep(ctx) }()
			slow.release(t, 4)
			slow.release(t, slow.waiting.Len())
			if err := <-done; !errors.As(err, new(*ProtocolError)) || !bytes.Contains([]byte(err.Error()), []byte("250 unasked")) {
				t.Errorf("error %v", err)
			}
			if _, err := c.Noop(context.Background()); err == nil {
				t.Error("the client lives on")
			}
		})
	}
}

// TestInStepTLSEnds: a record that does not end is a fault within the deadline, and so is the end.
func TestInStepTLSEnds(t *testing.T) {
	c, slow, server := overTLS(t, tls.VersionTLS13)
	slow.hold = true
	if _, err := io.WriteString(server, "250 unasked\r\n"); err != nil {
		t.Fatal(err)
	}
	slow.release(t, 7)
	for n, _ := c.glance.look(); n == 0; n, _ = c.glance.look() {
		if t.Context().Err() != nil {
			t.Fatal("nothing came")
		}
	}
	c.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if err := c.InStep(t.Context()); err == nil {
		t.Error("half a record is nothing")
	}

	c, _, server = overTLS(t, tls.VersionTLS13)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	for c.Clean() {
		if t.Context().Err() != nil {
			t.Fatal("nothing came")
		}
	}
	if err := c.InStep(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
}

// TestRecords: where records end is known however their octets are cut.
func TestRecords(t *testing.T) {
	var stream []byte
	ends := map[int]bool{0: true}
	for _, size := range []int{0, 1, 2, 255, 256, 16<<10 + 256, 0, 7} {
		stream = append(stream, 23, 3, 3, byte(size>>8), byte(size))
		stream = append(stream, make([]byte, size)...)
		ends[len(stream)] = true
	}
	for range 200 {
		var u underTLS
		for at := 0; at < len(stream); {
			n := min(rand.IntN(600), len(stream)-at)
			if rand.IntN(4) == 0 {
				n = min(n, 6)
			}
			u.follow(stream[at : at+n])
			at += n
			if got := u.head == 0 && u.left == 0; got != ends[at] {
				t.Fatalf("at %d: between records %v", at, got)
			}
		}
	}
}
