package mxsim

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/net/nettest"
)

// TestPipeIsAConnection holds the connection in memory to what net promises of real ones.
func TestPipeIsAConnection(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = newPipe(&net.TCPAddr{IP: net.IPv4(5, 255, 255, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(5, 0, 0, 1), Port: 25})
		return c1, c2, func() {
			_ = c1.Close()
			_ = c2.Close()
		}, nil
	})
}

func TestReadPath(t *testing.T) {
	cases := []struct{ arg, path, local, domain, params string }{
		{"TO:<a@b.example>", "a@b.example", "a", "b.example", ""},
		{"to: <a@b.example> NOTIFY=NEVER X", "a@b.example", "a", "b.example", "NOTIFY=NEVER X"},
		{"TO:a@b.example X=1", "a@b.example", "a", "b.example", "X=1"},
		{`TO:<"a> \"b"@c.example> X=1`, `"a> \"b"@c.example`, `a> "b`, "c.example", "X=1"},
		{`TO:<"a@b"@c.example>`, `"a@b"@c.example`, "a@b", "c.example", ""},
		{"TO:<@relay.example:a@b.example>", "@relay.example:a@b.example", "a", "b.example", ""},
		{"TO:<postmaster>", "postmaster", "postmaster", "", ""},
		{"TO:<>", "", "", "", ""},
		{"TO:<a@b.example", "a@b.example", "a", "b.example", ""},
		{"FROM:<a@b.example>", "", "", "", ""},
		{`TO:<"`, `"`, `"`, "", ""},
	}
	for _, c := range cases {
		var e Event
		e.readPath(c.arg, "TO:")
		params := strings.Join(e.Params, " ")
		if e.Path != c.path || e.Local != c.local || e.Domain != c.domain || params != c.params {
			t.Errorf("%s: %+v", c.arg, e)
		}
	}
}

// FuzzReadPath: whatever a client writes, what is taken from it is made of its own octets.
func FuzzReadPath(f *testing.F) {
	for _, s := range []string{"TO:<a@b.example>", `TO:<"a> \"b"@c> X=1`, "TO: a@b", `TO:<"\`, "TO:<@a:b@c>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		var e Event
		e.readPath(arg, "TO:")
		octets := len(e.Path)
		for _, p := range e.Params {
			octets += len(p)
		}
		if octets > len(arg) || len(e.Local)+len(e.Domain) > len(e.Path) {
			t.Errorf("%q gave more than it had: %+v", arg, e)
		}
	})
}

// FuzzBody: the end of a message and its octets do not depend on how they were cut into reads.
func FuzzBody(f *testing.F) {
	f.Add([]byte("a\r\n..b\r\n.\r\nrest"), 1)
	f.Add([]byte(".\r\n"), 2)
	f.Add([]byte("\r\r\n.\r\n\n.\n.\r\n"), 3)
	f.Fuzz(func(t *testing.T, octets []byte, size int) {
		size = 1 + max(size, -size)%64
		whole, wholeUsed := readBody(octets, len(octets)+1)
		cut, cutUsed := readBody(octets, size)
		if string(whole.kept) != string(cut.kept) || whole.done != cut.done || (whole.done && wholeUsed != cutUsed) {
			t.Errorf("%q: whole %q %v, in pieces of %d %q %v", octets, whole.kept, whole.done, size, cut.kept, cut.done)
		}
		if want := referenceEnd(octets); (want >= 0) != whole.done || (whole.done && want != wholeUsed) {
			t.Errorf("%q: end at %d, want %d", octets, wholeUsed, want)
		}
	})
}
