package esmtp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// peer is the server's end of a dialogue.
type peer struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

// caller is the client's end.
type caller struct {
	*testing.T
	c *Client
}

// expect reads the lines and compares.
func (p *peer) expect(lines ...string) {
	for _, want := range lines {
		got, err := p.br.ReadString('\n')
		if err != nil || got != want+"\r\n" {
			p.t.Errorf("the server got %q, %v; want %q", got, err, want)
		}
	}
}

// send writes the lines, each with CRLF.
func (p *peer) send(lines ...string) { p.raw(strings.Join(lines, "\r\n") + "\r\n") }

// raw writes octets as they are; the client may have gone.
func (p *peer) raw(s string) { _, _ = io.WriteString(p.conn, s) }

// gone waits for the client to close.
func (p *peer) gone() {
	if rest, err := io.ReadAll(p.br); err != nil || len(rest) > 0 {
		p.t.Errorf("the server got %q, %v; want the end", rest, err)
	}
}

// dialogue runs a client against a scripted server over a pipe, in a bubble with its own time.
func dialogue(t *testing.T, server func(*peer), client func(caller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer theirs.Close()
			server(&peer{t: t, conn: theirs, br: bufio.NewReader(theirs)})
		}()
		c := NewClient(ours)
		defer func() {
			c.Close()
			<-done
		}()
		client(caller{t, c})
	})
}

func wantReply(tb testing.TB, want string) func(Reply, error) {
	tb.Helper()
	return func(r Reply, err error) {
		tb.Helper()
		if err != nil || r.String() != want {
			tb.Errorf("reply %q, %v; want %q", r, err, want)
		}
	}
}

func TestClientSession(t *testing.T) {
	dialogue(t, func(p *peer) {
		p.send("220 mx.example.com ESMTP")
		p.expect("EHLO gate.example.net")
		p.send("250-mx.example.com", "250-StartTLS", "250-SIZE \t1000 ", "250-PIPELINING")
		p.send("250-size 7", "250 dsn")
		p.expect("MAIL FROM:<a@example.net> SIZE=5")
		p.send("250 2.1.0 ok")
		p.expect(`RCPT TO:<"no body"@example.com>`)
		p.send("550-5.1.1 no", "550 5.1.1 such user")
		p.expect("RSET")
		p.send("250 2.0.0 ok")
		p.expect("NOOP")
		p.send("250 2.0.0 ok")
		p.expect("QUIT")
		p.send("221 2.0.0 bye")
		p.gone()
	}, func(t caller) {
		c := t.c
		ctx := t.Context()
		if c.Clean() || c.Outstanding() != 1 {
			t.Error("clean before the greeting")
		}
		wantReply(t, "220 mx.example.com ESMTP")(c.Greeting(ctx))
		r, err := c.Hello(ctx, "gate.example.net")
		if err != nil || len(r.Lines) != 6 {
			t.Errorf("EHLO: %v, %v", r, err)
		}
		for keyword, want := range map[string]string{
			"STARTTLS": "", "size": "1000", "Pipelining": "", "DSN": "",
		} {
			if args, ok := c.Extension(keyword); !ok || args != want {
				t.Errorf("extension %s: %q, %v", keyword, args, ok)
			}
		}
		for _, keyword := range []string{"mx.example.com", "CHUNKING", ""} {
			if args, ok := c.Extension(keyword); ok {
				t.Errorf("extension %q is offered: %q", keyword, args)
			}
		}
		m := Mail{From: mustAddress(t, "a@example.net"), Size: 5, HasSize: true}
		wantReply(t, "250 2.1.0 ok")(c.Mail(ctx, m))
		rcpt := Rcpt{To: mustAddress(t, `"no body"@example.com`)}
		wantReply(t, "550 5.1.1 no / 5.1.1 such user")(c.Rcpt(ctx, rcpt))
		wantReply(t, "250 2.0.0 ok")(c.Reset(ctx))
		wantReply(t, "250 2.0.0 ok")(c.Noop(ctx))
		if !c.Clean() || c.Err() != nil || c.IsTLS() {
			t.Errorf("clean %v, error %v, TLS %v", c.Clean(), c.Err(), c.IsTLS())
		}
		wantReply(t, "221 2.0.0 bye")(c.Quit(ctx))
		if c.Clean() || !errors.Is(c.Err(), net.ErrClosed) {
			t.Errorf("after QUIT: clean %v, error %v", c.Clean(), c.Err())
		}
	})
}

func TestHello(t *testing.T) {
	for _, tt := range []struct {
		ehlo string
		helo bool
	}{
		{"500 what", true},
		{"501 what", true},
		{"502 no", true},
		{"504 no", true},
		{"550 no", true},
		{"554 go away", false},
		{"421 busy", false},
		{"250 ok", false},
	} {
		dialogue(t, func(p *peer) {
			p.send("220 hello")
			p.expect("EHLO gate.example.net")
			p.send(tt.ehlo)
			if tt.helo {
				p.expect("HELO gate.example.net")
				p.send("250-old", "250 SIZE")
			}
		}, func(t caller) {
			c := t.c
			wantReply(t, "220 hello")(c.Greeting(t.Context()))
			want := tt.ehlo
			if tt.helo {
				want = "250 old / SIZE"
			}
			wantReply(t, want)(c.Hello(t.Context(), "gate.example.net"))
			if _, ok := c.Extension("SIZE"); ok {
				t.Error("HELO gave an extension")
			}
			if strings.HasPrefix(want, "421") && c.Clean() {
				t.Error("clean after 421")
			}
		})
	}
	for _, name := range []string{"", "a b", "a\r\nRSET", "é.example"} {
		dialogue(t, func(p *peer) { p.send("220 hello"); p.gone() }, func(t caller) {
			c := t.c
			wantReply(t, "220 hello")(c.Greeting(t.Context()))
			if _, err := c.Hello(t.Context(), name); err == nil {
				t.Errorf("EHLO with the name %q", name)
			}
		})
	}
}

// A group of commands goes out in one write; its replies come in order. Then a message follows.
func TestClientPipelining(t *testing.T) {
	const group = "XFORWARD NAME=x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\n"
	dialogue(t, func(p *peer) {
		p.send("220 hello")
		buf := make([]byte, 4096)
		if n, err := p.conn.Read(buf); err != nil || string(buf[:n]) != group {
			t.Errorf("first write %q, %v", buf[:n], err)
		}
		p.send("250 one", "250-two", "250 two", "550 three")
		p.expect("DATA")
		p.send("354 go")
		p.expect("Subject: x", "", "..", ".")
		p.send("250 queued")
	}, func(t caller) {
		c := t.c
		ctx := t.Context()
		wantReply(t, "220 hello")(c.Greeting(ctx))
		c.Queue([]byte("XFORWARD NAME=x\r\n"))
		c.Queue([]byte("MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\n"))
		if c.Outstanding() != 3 || c.Clean() {
			t.Errorf("outstanding %d, clean %v", c.Outstanding(), c.Clean())
		}
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"250 one", "250 two / two", "550 three"} {
			wantReply(t, want)(c.ReadReply(ctx))
		}
		c.Queue([]byte("DATA\r\n"))
		wantReply(t, "354 go")(c.ReadReply(ctx))
		if err := c.Write(ctx, []byte("Subject: x\r\n\r\n..\r\n")); err != nil {
			t.Fatal(err)
		}
		c.QueueN([]byte(".\r\n"), 1)
		wantReply(t, "250 queued")(c.ReadReply(ctx))
		if !c.Clean() || c.Outstanding() != 0 {
			t.Error("not clean after the message")
		}
	})
}

func TestClientQueueRefuses(t *testing.T) {
	for _, lines := range []string{
		"", "NOOP", "NOOP\n", "NOOP\r", "NOOP\r\nNOOP", "NO\rOP\r\n", "NO\nOP\r\n", "NOOP\r\r\n",
		"\nNOOP\r\n",
	} {
		ours, theirs := net.Pipe()
		c := NewClient(ours)
		c.Queue([]byte(lines))
		if c.Err() == nil {
			t.Errorf("%q was queued", lines)
		}
		c.Close()
		theirs.Close()
	}
}

// What a peer may do to a client that waits for a reply, and what that must be.
func TestClientBrokenReplies(t *testing.T) {
	protocol := func(err error) bool { return errors.As(err, new(*ProtocolError)) }
	is := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) }
	}
	tests := []struct {
		name   string
		server func(*peer)
		want   func(error) bool
	}{
		{"cut by the end", func(p *peer) { p.raw("250 2.0.0 par") }, is(io.ErrUnexpectedEOF)},
		{"cut within lines", func(p *peer) { p.raw("250-2.0.0 par\r\n") }, is(io.ErrUnexpectedEOF)},
		{"cut by time", func(p *peer) { p.raw("250 2.0.0 par"); p.gone() }, is(os.ErrDeadlineExceeded)},
		{"silence", func(p *peer) { p.gone() }, is(os.ErrDeadlineExceeded)},
		{"closed", func(*peer) {}, is(io.EOF)},
		{"drip", func(p *peer) {
			p.raw("250-")
			for range 1000 {
				time.Sleep(time.Second)
				p.raw("x")
			}
		}, is(os.ErrDeadlineExceeded)},
		{"drip of lines", func(p *peer) {
			for range 1000 {
				time.Sleep(time.Second)
				p.raw("250-x\r\n")
			}
		}, is(os.ErrDeadlineExceeded)},
		{"endless lines", func(p *peer) {
			for _, err := io.WriteString(p.conn, "250-x\r\n"); err == nil; {
				_, err = io.WriteString(p.conn, "250-x\r\n")
			}
		}, protocol},
		{"endless line", func(p *peer) {
			for _, err := io.WriteString(p.conn, "250-"); err == nil; {
				_, err = io.WriteString(p.conn, strings.Repeat("x", 1000))
			}
		}, protocol},
		{"mixed codes", func(p *peer) { p.send("250-ok", "550 no") }, protocol},
		{"code 199", func(p *peer) { p.send("199 x") }, protocol},
		{"code 999", func(p *peer) { p.send("999 x") }, protocol},
		{"no code", func(p *peer) { p.send("HTTP/1.1 400 Bad Request") }, protocol},
		{"bare LF", func(p *peer) { p.raw("250 ok\n") }, protocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dialogue(t, func(p *peer) {
				p.send("220 hello")
				p.expect("NOOP")
				tt.server(p)
			}, func(t caller) {
				c := t.c
				c.Timeout = 10 * time.Second
				wantReply(t, "220 hello")(c.Greeting(t.Context()))
				start := time.Now()
				r, err := c.Noop(t.Context())
				if !tt.want(err) || !r.IsZero() {
					t.Errorf("reply %q, error %v", r, err)
				}
				// The bubble's clock: exact.
				if d := time.Since(start); d > c.Timeout {
					t.Errorf("took %v", d)
				}
				if c.Clean() || !errors.Is(c.Err(), err) {
					t.Errorf("clean %v, error %v", c.Clean(), c.Err())
				}
				if _, again := c.Noop(t.Context()); !errors.Is(again, err) {
					t.Errorf("a dead client says %v", again)
				}
				c.Close()
			})
		})
	}
}

// A reply to nothing must not become the reply to the next command.
func TestClientOutOfStep(t *testing.T) {
	dialogue(t, func(p *peer) {
		p.send("220 hello", "250 2.1.5 \x1bunasked")
		p.gone()
	}, func(t caller) {
		c := t.c
		wantReply(t, "220 hello")(c.Greeting(t.Context()))
		if c.Clean() {
			t.Error("clean with a reply waiting")
		}
		r, err := c.Reset(t.Context())
		var protocol *ProtocolError
		if !errors.As(err, &protocol) || !r.IsZero() {
			t.Fatalf("%v, %v; want a ProtocolError", r, err)
		}
		if !strings.Contains(protocol.Detail, `250 2.1.5 \x1bunasked`) {
			t.Errorf("the error does not show what came: %v", err)
		}
	})
}

func TestClientMisuse(t *testing.T) {
	dialogue(t, func(p *peer) { p.send("220 hello"); p.gone() }, func(t caller) {
		c := t.c
		wantReply(t, "220 hello")(c.Greeting(t.Context()))
		if _, err := c.ReadReply(t.Context()); err == nil {
			t.Error("a reply to nothing")
		}
	})
	dialogue(t, func(p *peer) { p.gone() }, func(t caller) {
		c := t.c
		if _, err := c.Noop(t.Context()); err == nil {
			t.Error("a command before the greeting")
		}
		if _, err := c.Quit(t.Context()); err == nil {
			t.Error("QUIT of a dead client")
		}
	})
}

// QUIT while replies are outstanding reads past them.
func TestClientQuitEarly(t *testing.T) {
	dialogue(t, func(p *peer) {
		p.send("220 hello")
		p.expect("MAIL FROM:<>", "QUIT")
		p.send("250 ok", "221 bye")
		p.gone()
	}, func(t caller) {
		c := t.c
		wantReply(t, "220 hello")(c.Greeting(t.Context()))
		c.Queue([]byte("MAIL FROM:<>\r\n"))
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Queue([]byte("RCPT TO:<never@example.com>\r\n"))
		wantReply(t, "221 bye")(c.Quit(t.Context()))
	})
}

func TestClientContext(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		dialogue(t, func(p *peer) { p.send("220 hello"); p.expect("NOOP"); p.gone() },
			func(t caller) {
				c := t.c
				wantReply(t, "220 hello")(c.Greeting(t.Context()))
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(3*time.Second, cancel)
				start := time.Now()
				if _, err := c.Noop(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				if d := time.Since(start); d != 3*time.Second {
					t.Errorf("took %v", d)
				}
			})
	})
	t.Run("deadline", func(t *testing.T) {
		dialogue(t, func(p *peer) { p.send("220 hello"); p.expect("NOOP"); p.gone() },
			func(t caller) {
				c := t.c
				wantReply(t, "220 hello")(c.Greeting(t.Context()))
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				start := time.Now()
				_, err := c.Noop(ctx)
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if d := time.Since(start); d != 2*time.Second {
					t.Errorf("took %v", d)
				}
			})
	})
	t.Run("ended in between", func(t *testing.T) {
		dialogue(t, func(p *peer) {
			p.send("220 hello")
			for range 2 {
				p.expect("NOOP")
				p.send("250 ok")
			}
		}, func(t caller) {
			c := t.c
			wantReply(t, "220 hello")(c.Greeting(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			wantReply(t, "250 ok")(c.Noop(ctx))
			cancel()
			synctest.Wait()
			wantReply(t, "250 ok")(c.Noop(t.Context()))
		})
	})
	t.Run("a peer that does not read", func(t *testing.T) {
		dialogue(t, func(p *peer) { p.send("220 hello"); time.Sleep(time.Hour) },
			func(t caller) {
				c := t.c
				c.Timeout = time.Minute
				wantReply(t, "220 hello")(c.Greeting(t.Context()))
				if err := c.Write(t.Context(), []byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("error %v", err)
				}
			})
	})
}

// On a real socket, octets that were not read yet and the end of the connection show too.
func TestClientCleanLooksAtTheSocket(t *testing.T) {
	for _, tt := range []struct {
		name string
		act  func(net.Conn)
		want func(error) bool
	}{
		{
			"octets", func(conn net.Conn) { _, _ = io.WriteString(conn, "250 unasked\r\n") },
			func(err error) bool { return errors.As(err, new(*ProtocolError)) },
		},
		{
			"the end", func(conn net.Conn) { conn.Close() },
			func(err error) bool { return errors.Is(err, io.EOF) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c := NewClient(conn)
			defer c.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			if _, err := io.WriteString(server, "220 hello\r\n"); err != nil {
				t.Fatal(err)
			}
			wantReply(t, "220 hello")(c.Greeting(t.Context()))
			if !c.Clean() || c.RemoteAddr().String() != l.Addr().String() || c.LocalAddr() == nil {
				t.Fatalf("not clean after the greeting, peer %v", c.RemoteAddr())
			}
			tt.act(server)
			for c.Clean() { // until the kernel has passed it on
				if t.Context().Err() != nil {
					return
				}
			}
			_, err = c.Noop(t.Context())
			if !tt.want(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}
