package wire

import (
	"bytes"
	"testing"
)

// frame runs the framer over p cut at the given places, and returns what it found: the
// message, what follows it, whether it ended, whether something bare was in it.
func frame(p []byte, cuts []byte) (message, rest []byte, done, bad bool) {
	f := newFramer()
	var held []byte
	for i := 0; len(p) > 0; i++ {
		n := len(p)
		if i < len(cuts) {
			n = min(n, int(cuts[i])%7+1)
		}
		held = append(held, p[:n]...)
		p = p[n:]
		decided, next, end := f.scan(held)
		message = append(message, held[:decided]...)
		if end {
			return message, append(bytes.Clone(held[next:]), p...), true, f.bad
		}
		held = bytes.Clone(held[next:])
		if len(held) > 2 {
			panic("more than two octets undecided")
		}
	}
	return message, held, false, f.bad
}

// spec is the definition: the end is the first CR LF "." CR LF, where the message may begin
// with the "." as if a CR LF stood before it.
func spec(p []byte) (message, rest []byte, done bool) {
	i := bytes.Index(append([]byte("\r\n"), p...), []byte("\r\n.\r\n"))
	if i < 0 {
		return nil, nil, false
	}
	return p[:i], p[i+3:], true
}

func seeds(f *testing.F) {
	f.Helper()
	for _, s := range []string{
		".\r\n", "x\r\n.\r\nRSET\r\n", "x\r\r\n.\r\n", "\n.\n.\r\n", "\r\n.\r", "..\r\n.\r\n", ".\r.\r\n", "\x00.\r\n\r\n.\r\n",
		"a\r\n.\x00\r\nb\r\n.\r\n", "\r\n.\n\r\n.\r\n", "\r.\r\n.\r\n",
	} {
		f.Add([]byte(s), []byte{0, 1, 2, 3})
	}
}

// FuzzFramer: the end of a message is the first CR LF "." CR LF, however the octets are cut.
func FuzzFramer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, p, cuts []byte) {
		message, rest, done, bad := frame(p, cuts)
		want, wantRest, wantDone := spec(p)
		if done != wantDone {
			t.Fatalf("%q: done %v, want %v", p, done, wantDone)
		}
		if !done {
			return
		}
		if !bytes.Equal(message, want) || !bytes.Equal(rest, wantRest) {
			t.Fatalf("%q: message %q and %q, want %q and %q", p, message, rest, want, wantRest)
		}
		stripped := bytes.ReplaceAll(want, []byte("\r\n"), nil)
		if wantBad := bytes.ContainsAny(stripped, "\r\n\x00"); bad != wantBad {
			t.Fatalf("%q: bad %v, want %v", p, bad, wantBad)
		}
	})
}

// FuzzNormalizer: what it writes holds no bare CR, LF or NUL and no end of data, does not
// depend on how the message is cut, keeps every other octet, and leaves a clean message alone.
func FuzzNormalizer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, p, cuts []byte) {
		normal := func(cuts []byte) (out []byte, done bool) {
			fr, z := newFramer(), newNormalizer()
			var held []byte
			rest := p
			for i := 0; len(rest) > 0 && !done; i++ {
				n := len(rest)
				if i < len(cuts) {
					n = min(n, int(cuts[i])%7+1)
				}
				held = append(held, rest[:n]...)
				rest = rest[n:]
				var decided, next int
				decided, next, done = fr.scan(held)
				out = z.append(out, held[:decided])
				held = bytes.Clone(held[next:])
			}
			return out, done
		}
		out, done := normal(cuts)
		if !done {
			return
		}
		if whole, _ := normal(nil); !bytes.Equal(out, whole) {
			t.Fatalf("%q: cut %q, whole %q", p, out, whole)
		}
		if bytes.ContainsAny(bytes.ReplaceAll(out, []byte("\r\n"), nil), "\r\n\x00") {
			t.Fatalf("%q: bare octets in %q", p, out)
		}
		if _, _, end := spec(out); end {
			t.Fatalf("%q: an end of data in %q", p, out)
		}
		if len(out) > 0 && !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Fatalf("%q: %q does not end with CR LF", p, out)
		}
		message, _, _ := spec(p)
		text := func(b []byte) (kept []byte) {
			for _, c := range b {
				if c != '\r' && c != '\n' && c != 0 && c != '.' {
					kept = append(kept, c)
				}
			}
			return kept
		}
		if !bytes.Equal(text(out), text(message)) {
			t.Fatalf("%q became %q", message, out)
		}
		clean := !bytes.ContainsAny(bytes.ReplaceAll(message, []byte("\r\n"), nil), "\r\n\x00")
		if clean && !bytes.Equal(out, message) {
			t.Fatalf("clean %q became %q", message, out)
		}
	})
}

func TestNormalizer(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\rc\r\n":         "a\r\nb\r\nc\r\n",
		"a\n.\r\n":            "a\r\n..\r\n",
		"a\r.b\r\n":           "a\r\n..b\r\n",
		"a\r\n.\nb\r\n":       "a\r\n\r\nb\r\n",
		"a\r\n.\x00\r\nb\r\n": "a\r\n\r\nb\r\n",
		"\x00.\r\n":           "..\r\n",
		"..\r\n.x\r\n":        "..\r\n.x\r\n",
		"a\r\r\nb\r\n":        "a\r\n\r\nb\r\n",
	} {
		z := newNormalizer()
		if got := z.append(nil, []byte(in)); string(got) != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func BenchmarkFramer(b *testing.B) {
	body := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, and on and on it goes ...\r\n"), 900)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		f := newFramer()
		if n, _, _ := f.scan(body); n != len(body) || f.bad {
			b.Fatal(n, f.bad)
		}
	}
}
