package bench

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// serve runs a server on loopback for the time of a test.
func serve(t *testing.T, f func(context.Context, net.Listener) error) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// TestLoad sends each kind of work through a splice to the sink.
func TestLoad(t *testing.T) {
	t.Parallel()
	sink := serve(t, Sink)
	splice := serve(t, func(ctx context.Context, l net.Listener) error { return Splice(ctx, l, sink) })
	for _, w := range []Work{
		{Name: "connection a message", Sessions: 3, PerConn: 1, Rcpts: 1, Size: 1000},
		{Name: "two messages a connection", Sessions: 3, PerConn: 2, Rcpts: 2, Size: 10},
		{Name: "persistent", Sessions: 3, Rcpts: 10, Size: 300_000},
		{Name: "pipelined", Sessions: 3, Rcpts: 50, Size: 10_000, Pipelined: true},
		{Name: "recipients only", Sessions: 3, Rcpts: 50, Pipelined: true, NoData: true},
	} {
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			r := Load{Work: w, Address: splice, Recipients: Recipients(7, 3, "example.com"), Messages: 20}.
				Run(t.Context())
			if r.First != nil {
				t.Fatal(r.First)
			}
			if r.Messages != 20 || r.Recipients != 20*int64(w.Rcpts) || r.Message.Count() != 20 {
				t.Errorf("%d messages (%d timed) for %d recipients, want 20 for %d",
					r.Messages, r.Message.Count(), r.Recipients, 20*w.Rcpts)
			}
		})
	}
}

// TestLoadRefused: refusals count only where they are expected, and end nothing.
func TestLoadRefused(t *testing.T) {
	t.Parallel()
	at := serve(t, func(ctx context.Context, l net.Listener) error {
		return accept(ctx, l, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "220 hello\r\n")
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				answer := "250-two lines\r\n250 2.0.0 Ok\r\n"
				if strings.HasPrefix(lines.Text(), "RCPT TO:<user1@") {
					answer = "550 5.1.1 no\r\n"
				}
				_, _ = io.WriteString(conn, answer)
			}
		})
	})
	for _, pipelined := range []bool{false, true} {
		l := Load{
			Work:    Work{Sessions: 1, Rcpts: 2, NoData: true, Pipelined: pipelined},
			Address: at, Recipients: Recipients(2, 1, "example.com"), Messages: 3, Refused: 550,
		}
		if r := l.Run(t.Context()); r.First != nil || r.Refused != 3 || r.Messages != 3 {
			t.Errorf("%d messages, %d refusals, %v; want 3 and 3", r.Messages, r.Refused, r.First)
		}
		l.Refused = 0
		if r := l.Run(t.Context()); r.Errors == 0 || r.Messages != 0 {
			t.Errorf("unexpected refusals: %d messages, %d errors", r.Messages, r.Errors)
		}
	}
}

func TestPingAndHold(t *testing.T) {
	t.Parallel()
	h, err := Ping(t.Context(), serve(t, Echo), "nobody@example.com", 250, 550, true)
	if err != nil || h.Count() != 250 {
		t.Errorf("echo: %d answers, %v", h.Count(), err)
	}
	sink := serve(t, Sink)
	if h, err = Ping(t.Context(), sink, "user@example.com", 250, 250, false); err != nil || h.Count() != 250 {
		t.Errorf("sink: %d answers, %v", h.Count(), err)
	}
	if _, err = Ping(t.Context(), sink, "user@example.com", 1, 550, false); err == nil {
		t.Error("another code than the one that is measured is no error")
	}
	var hold Hold
	defer hold.Close()
	for _, n := range []int{5, 40} {
		if err := hold.Open(t.Context(), sink, n, "user@example.com", Message(100)); err != nil || hold.Len() != n {
			t.Errorf("%d connections open, want %d: %v", hold.Len(), n, err)
		}
	}
	halted := false
	err = HalfWay(t.Context(), sink, "user@example.com", 20, 100_000, func() error { halted = true; return nil })
	if err != nil || !halted {
		t.Errorf("half way: %v, stopped: %v", err, halted)
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 1023, 1024, 1025, 1026, 1 << 20} {
		m := Message(size)
		if len(m) != size {
			t.Errorf("%d octets, want %d", len(m), size)
		}
		if !bytes.HasSuffix(m, []byte("\r\n")) || bytes.Contains(m, []byte("\n.")) {
			t.Errorf("the message of %d octets does not go over the wire as it is", size)
		}
	}
}

// TestTree reads this process.
func TestTree(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip("no /proc here")
	}
	self := Tree{PID: os.Getpid()}
	if _, err := self.CPU(); err != nil {
		t.Error(err)
	}
	memory, err := self.Memory()
	if err != nil || memory < 1<<20 {
		t.Errorf("%d octets of memory, %v", memory, err)
	}
	if files, err := self.Files(); err != nil || files < 3 {
		t.Errorf("%d descriptors, %v", files, err)
	}
	if threads, err := self.Threads(); err != nil || threads < 1 {
		t.Errorf("%d threads, %v", threads, err)
	}
	if _, err := (Tree{PID: 1 << 30}).CPU(); err == nil {
		t.Error("a process that is none has CPU time")
	}
}

// FuzzSkipMessage: whatever way the octets come, the message ends at the first CRLF.CRLF, counting
// the CRLF of the command before it, and what follows is left.
func FuzzSkipMessage(f *testing.F) {
	f.Add([]byte("a\r\n.\r\nQUIT\r\n"), false)
	f.Add([]byte(".\r\n"), true)
	f.Add([]byte("\r\n..\r\n\r\n.\r\r\n.\r\nrest"), true)
	f.Add(append(bytes.Repeat([]byte("x"), 33), "\r\n.\r\n"...), false)
	f.Fuzz(func(t *testing.T, p []byte, slowly bool) {
		var r io.Reader = bytes.NewReader(p)
		if slowly {
			r = iotest.OneByteReader(r)
		}
		br := bufio.NewReaderSize(r, 32)
		err := skipMessage(br)
		_, rest, ends := bytes.Cut(append([]byte("\r\n"), p...), []byte("\r\n.\r\n"))
		if ends != (err == nil) {
			t.Fatalf("%q: %v, want an end: %v", p, err, ends)
		}
		left, readErr := io.ReadAll(br)
		if readErr != nil || ends && !bytes.Equal(left, rest) {
			t.Fatalf("%q: %q is left, want %q (%v)", p, left, rest, readErr)
		}
	})
}
