package probe_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// script is a server that says its pieces, one before anything was written to it and one for each
// write, and closes when it has nothing more to say.
type script struct {
	pieces [][]byte
	turn   int
	wrote  bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if s.turn >= len(s.pieces) || len(s.pieces[s.turn]) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[s.turn])
	s.pieces[s.turn] = s.pieces[s.turn][n:]
	return n, nil
}

// Write makes what was not read of the piece before come first: it waits in the socket.
func (s *script) Write(p []byte) (int, error) {
	s.wrote.Write(p)
	s.turn++
	if s.turn < len(s.pieces) {
		s.pieces[s.turn] = append(s.pieces[s.turn-1], s.pieces[s.turn]...)
	} else if s.turn == len(s.pieces) {
		s.pieces = append(s.pieces, s.pieces[s.turn-1])
	}
	return len(p), nil
}

func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzServer has a server say anything, piece by piece (divided by NUL). An answer must be what the
// server said, completely, after it was asked; nothing unprintable may come out, and nothing but
// whole lines goes in.
func FuzzServer(f *testing.F) {
	f.Add("220 mx\r\n\x00250 mx\r\n\x00250 ok\r\n\x00550 5.1.1 no\r\n\x00250 ok\r\n")
	f.Add("220 mx\r\n\x00250-mx\r\n250 PIPELINING\r\n\x00250 ok\r\n550 5.1.1 no\r\n250 ok\r\n")
	f.Add("220-mx\r\n220 mx\r\n\x00500 what\r\n\x00250 mx\r\n\x00451 no\r\n")
	f.Add("220 mx\r\n\x00250-mx\r\n250 STARTTLS\r\n\x00220 go\r\n550 5.1.1 x\r\n\x00")
	f.Add("554 no\r\n")
	f.Add("220 mx\r\n250 mx\r\n250 ok\r\n550 5.1.1 no\r\n")
	w := mxsim.New(mxsim.Config{})
	f.Cleanup(w.Close)
	w.Add(site("example.com"))
	resolver, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: w.DialContext})
	if err != nil {
		f.Fatal(err)
	}
	res := &mx.Resolver{DNS: resolver, Filter: mx.NewFilter(mx.FilterConfig{})}
	req := probe.Request{
		Set:    res.Lookup(f.Context(), "example.com"),
		Sender: address(f, "sender@example.net"), Rcpt: address(f, "anna@example.com"), Helo: helo,
	}
	f.Fuzz(func(t *testing.T, said string) {
		var servers []*script
		pool := probe.NewPool(probe.Config{
			Resolver: res, OwnNames: []string{helo},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				s := &script{}
				for piece := range strings.SplitSeq(said, "\x00") {
					s.pieces = append(s.pieces, []byte(piece))
				}
				servers = append(servers, s)
				return s, nil
			},
		})
		out := pool.Probe(t.Context(), req)
		if err := pool.Close(t.Context()); err != nil {
			t.Error(err)
		}
		checkOutcome(t, out, said)
		if len(servers) > 2 {
			t.Errorf("%d connections to one address", len(servers))
		}
		for _, s := range servers {
			wrote := s.wrote.String()
			if strings.Contains(wrote, "\x16\x03") {
				continue // a TLS handshake follows
			}
			if rest := strings.ReplaceAll(wrote, "\r\n", ""); strings.ContainsAny(rest, "\r\n") ||
				wrote != "" && !strings.HasSuffix(wrote, "\r\n") || strings.Contains(wrote, "DATA") {
				t.Errorf("wrote %q", wrote)
			}
		}
	})
}

func checkOutcome(t *testing.T, out probe.Outcome, said string) {
	t.Helper()
	for _, s := range append(out.Steps, errorText(out.Err)) {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("control octets in %q", s)
		}
	}
	if out.Err == nil == out.Reply.IsZero() {
		t.Errorf("want either a reply or an error: %+v", out)
	}
	if out.Err != nil {
		return
	}
	code := strconv.Itoa(out.Reply.Code)
	for i, line := range out.Reply.Lines {
		sep := "-"
		if i == len(out.Reply.Lines)-1 {
			sep = " "
		}
		bare := line == "" && strings.Contains(said, code+"\r\n")
		if !bare && !strings.Contains(said, code+sep+line) {
			t.Errorf("the server never said %q", code+sep+line)
		}
	}
	accepted := code == "250" || code == "251" || code == "252"
	refused := code[0] == '4' || code[0] == '5'
	if !refused && (!accepted || out.Stage != reply.StageRcpt) && !out.Self {
		t.Errorf("taken for an answer at %s: %v", out.Stage, out.Reply)
	}
	if out.Stage == reply.StageRcpt && !strings.HasPrefix(said, "220") {
		t.Errorf("an answer to RCPT without a banner: %v", out.Reply)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
