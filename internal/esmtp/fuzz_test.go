package esmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// checkWritten is the oracle for everything that goes on the wire: whole lines, and no octet that
// ends one early or starts something else.
func checkWritten(t *testing.T, wire []byte, limit int, allowUTF8 bool) {
	t.Helper()
	if len(wire) > 0 && !bytes.HasSuffix(wire, []byte("\r\n")) {
		t.Fatalf("does not end with CRLF: %q", wire)
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(wire, []byte("\r\n")), []byte("\r\n")) {
		if len(line)+2 > limit {
			t.Fatalf("a line of %d octets: %q", len(line)+2, line)
		}
		for _, c := range line {
			if c < ' ' || c == 0x7f || c >= utf8.RuneSelf && !allowUTF8 {
				t.Fatalf("octet %#x in %q", c, line)
			}
		}
		if !utf8.Valid(line) {
			t.Fatalf("not UTF-8: %q", line)
		}
	}
}

// checkAddress is the oracle for a parsed address: within the limits, free of what could end a path
// early, and the same again when it is read from what was written.
func checkAddress(t *testing.T, a Address, allowUTF8 bool, maxLocal int) {
	t.Helper()
	path := string(a.AppendPath(nil))
	if len(path) > MaxPath || len(a.ASCIIDomain()) > MaxDomain {
		t.Fatalf("path of %d octets: %q", len(path), path)
	}
	if !allowUTF8 && a.NeedsUTF8() {
		t.Fatalf("UTF-8 in %q", path)
	}
	ascii := a.ASCIIDomain()
	if !isASCII(ascii) || ascii != strings.ToLower(ascii) && !a.IsLiteral() {
		t.Fatalf("ASCII domain %q", ascii)
	}
	quoted := false
	for i := 1; i < len(path)-1; i++ {
		switch c := path[i]; {
		case c < ' ' || c == 0x7f:
			t.Fatalf("octet %#x in %q", c, path)
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte("<> ,;()\\", c) >= 0:
			t.Fatalf("unquoted %q in %q", c, path)
		}
	}
	if quoted {
		t.Fatalf("open quotes in %q", path)
	}
	if a.IsNull() {
		return
	}
	back, fault := parsePath(path, allowUTF8, maxLocal)
	if fault != nil || back != a {
		t.Fatalf("%q is read as %+v, %v; was %+v", path, back, fault, a)
	}
	key := a.Key()
	if at := strings.LastIndexByte(key, '@'); key[:at] != a.Local() || key[at+1:] != ascii {
		t.Fatalf("key %q of %q", key, path)
	}
	plain, ok := a.ASCII()
	if ok != isASCII(a.Local()) {
		t.Fatalf("ASCII form of %q: %v", path, ok)
	}
	if !ok {
		return
	}
	again, fault := parsePath(string(plain.AppendPath(nil)), false, maxLocal)
	if fault != nil || again != plain || again.Key() != key {
		t.Fatalf("ASCII form %q of %q: %v", plain, path, fault)
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"user@example.com", `"a b\"\\"@example.com`, "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]",
		"postmaster", "é@bücher.example", "a@xn--bcher-kva.example", `""@a.b`, "a@b@c", "a..b@c",
		"a@b.", "a@1.2.3.4",
		"a@faß.example", "a@ｅｘａｍｐｌｅ。com", "a@\u200dx.example", "a@א1.example",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, allowUTF8 bool) {
		a, err := ParseAddress(s, allowUTF8)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !syntax.Reply.Permanent() || a != (Address{}) {
				t.Fatalf("%q: %v, %v", s, a, err)
			}
			checkWritten(t, syntax.Reply.Append(nil, false), 512, false)
			return
		}
		if a.IsNull() || a.Domain() == "" && !a.IsPostmaster() {
			t.Fatalf("%q is %+v", s, a)
		}
		checkAddress(t, a, allowUTF8, MaxLocal)
		if back, err := ParseAddress(a.String(), allowUTF8); err != nil || back != a {
			t.Fatalf("%q written as %q is read as %+v, %v", s, a, back, err)
		}
	})
}

func FuzzMail(f *testing.F) {
	for _, s := range []string{
		"FROM:<a@example.com> SIZE=1 BODY=8BITMIME RET=FULL ENVID=x+2By AUTH=<>", "from: a@b.example",
		"FROM:<é@bücher.example> SMTPUTF8 REQUIRETLS", "FROM:<@a.test,@[1.2.3.4]:b@c.example> SIZE=0",
		`FROM:<"> SIZE=1 "@example.com>`, "FROM:<>", "FROM:<root>\tAUTH=a=b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMail(s)
		if err != nil {
			checkSyntaxError(t, err)
			return
		}
		checkAddress(t, m.From, m.UTF8, MaxPath)
		wire := m.Append(nil, nil)
		checkWritten(t, wire, len(s)+100, m.UTF8)
		back, err := ParseMail(strings.TrimSuffix(string(wire), "\r\n")[len("MAIL "):])
		if err != nil {
			t.Fatalf("%q is not read again: %v", wire, err)
		}
		checkParams(t, m.Params, back.Params)
		m.Params, back.Params = nil, nil
		if !sameMail(m, back) {
			t.Fatalf("%q is read as %+v, was %+v", wire, back, m)
		}
		// The fields alone say the same.
		back, err = ParseMail(strings.TrimSuffix(string(m.Append(nil, nil)), "\r\n")[len("MAIL "):])
		if back.Params = nil; err != nil || !sameMail(m, back) {
			t.Fatalf("from the fields %+v comes %+v, %v", m, back, err)
		}
		bare := m.Append(nil, func(string) bool { return false })
		if want := "MAIL FROM:" + string(m.From.AppendPath(nil)) + "\r\n"; string(bare) != want {
			t.Fatalf("without parameters: %q, want %q", bare, want)
		}
	})
}

func FuzzRcpt(f *testing.F) {
	for _, s := range []string{
		"TO:<a@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@example.com", "to: a@b.example",
		"TO:<é@bücher.example> ORCPT=utf-8;é\\x{E9}@x", "TO:<postmaster>", "TO:<@a.test:b@c.example>",
		`TO:<"good@example.com> NOTIFY=NEVER y"@example.org>`,
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, allowUTF8 bool) {
		r, err := ParseRcpt(s, allowUTF8)
		if err != nil {
			checkSyntaxError(t, err)
			return
		}
		if r.To.IsNull() {
			t.Fatalf("%q: the null path as a recipient", s)
		}
		checkAddress(t, r.To, allowUTF8, MaxLocal)
		wire := r.Append(nil, nil)
		checkWritten(t, wire, len(s)+100, allowUTF8)
		back, err := ParseRcpt(strings.TrimSuffix(string(wire), "\r\n")[len("RCPT "):], allowUTF8)
		if err != nil || back.To != r.To || back.Notify != r.Notify || back.ORCPT != r.ORCPT {
			t.Fatalf("%q is read as %+v, %v; was %+v", wire, back, err, r)
		}
		checkParams(t, r.Params, back.Params)
	})
}

func FuzzXForward(f *testing.F) {
	for _, s := range []string{
		"NAME=a.example ADDR=192.0.2.1 PORT=25 PROTO=ESMTP HELO=a+2Bb IDENT=[UNAVAILABLE] SOURCE=LOCAL",
		"addr=IPv6:2001:db8::1", "HELO=+FF+80", "PORT=0", "NAME=" + strings.Repeat("+20", 200),
	} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		var x XForward
		for _, arg := range []string{first, second} {
			before := x
			if err := x.Merge(arg); err != nil {
				checkSyntaxError(t, err)
				if x != before {
					t.Fatalf("%q: changed %+v to %+v", arg, before, x)
				}
			}
		}
		wire := x.Append(nil, xforwardNames())
		checkWritten(t, wire, xforwardLine, false)
		for word := range strings.FieldsSeq(string(wire)) {
			if _, value, _ := strings.Cut(word, "="); len(value) > 255 {
				t.Fatalf("a value longer than Postfix takes: %q", word)
			}
		}
		var back XForward
		for line := range strings.Lines(string(wire)) {
			arg, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r\n"), "XFORWARD ")
			if !ok {
				t.Fatalf("line %q", line)
			}
			if err := back.Merge(arg); err != nil {
				t.Fatalf("%q is not read again: %v", line, err)
			}
		}
		for _, name := range xforwardNames() {
			got, want := *back.field(name), *x.field(name)
			whole := len(AppendXtext(nil, want)) <= 255
			if got != want && (whole || !strings.HasPrefix(want, got)) {
				t.Fatalf("%s is read as %q, was %q", name, got, want)
			}
		}
	})
}

func FuzzXtext(f *testing.F) {
	for _, s := range []string{"", "abc", "a+2Bb", "a+b=c", "+", "+0", "+zz", "\x00\r\n é", "+2b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		coded := AppendXtext(nil, s)
		for _, c := range coded {
			if c <= ' ' || c > '~' || c == '=' {
				t.Fatalf("octet %#x in the xtext %q", c, coded)
			}
		}
		if back, err := ParseXtext(string(coded)); err != nil || back != s {
			t.Fatalf("%q as xtext %q is read as %q, %v", s, coded, back, err)
		}
		if text, err := ParseXtext(s); err == nil {
			if again, err := ParseXtext(string(AppendXtext(nil, text))); err != nil || again != text {
				t.Fatalf("%q decodes to %q, then to %q, %v", s, text, again, err)
			}
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"250 2.0.0 ok\r\n", "250\r\n", "550-a\r\n550 b\r\n", "250-a\r\n550 b\r\n", "250 a\n",
		"250 a\rb\r\n", "250-a\r\n250-SIZE 1\r\n250 \t X  y \r\n",
		"220 \xff\x00\x1b\u202eé\r\n", "199 x\r\n", "25", strings.Repeat("250-x\r\n", 101),
		"250 " + strings.Repeat("x", 5000) + "\r\n221 bye\r\n",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, allowUTF8 bool) {
		br := bufio.NewReader(bytes.NewReader(in))
		for {
			r, err := ReadReply(br)
			if err != nil {
				var protocol *ProtocolError
				ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
				if !ended && !errors.As(err, &protocol) || !r.IsZero() {
					t.Fatalf("%v comes with %v", r, err)
				}
				return
			}
			checkReply(t, r, allowUTF8)
		}
	})
}

// checkReply holds a reply that was read against the limits, and against itself written and read.
func checkReply(t *testing.T, r Reply, allowUTF8 bool) {
	t.Helper()
	if r.Code < 200 || r.Code > 599 || len(r.Lines) == 0 || len(r.Lines) > MaxReplyLines {
		t.Fatalf("code %d, %d lines", r.Code, len(r.Lines))
	}
	total := 0
	for _, line := range r.Lines {
		if total += len(line); len(line) > MaxReplyLine-3 || strings.ContainsAny(line, "\r\n") {
			t.Fatalf("line of %d octets: %.80q", len(line), line)
		}
	}
	if total > MaxReplyOctets {
		t.Fatalf("%d octets", total)
	}
	wire := r.Append(nil, allowUTF8)
	checkWritten(t, wire, 512, allowUTF8)
	br := bufio.NewReader(bytes.NewReader(wire))
	back, err := ReadReply(br)
	if err != nil || back.Code != r.Code || len(back.Lines) != len(r.Lines) {
		t.Fatalf("%q is read as %v, %v", wire, back, err)
	}
	if again := back.Append(nil, allowUTF8); !bytes.Equal(again, wire) {
		t.Fatalf("%q is written again as %q", wire, again)
	}
	s := r.String()
	if len(s) > replyString || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		t.Fatalf("string %q", s)
	}
	for keyword := range parseExtensions(r.Lines) {
		if keyword == "" || keyword != strings.ToUpper(keyword) || strings.ContainsAny(keyword, " \t") {
			t.Fatalf("keyword %q in %q", keyword, r.Lines)
		}
	}
	if e := r.Enhanced(); e != (EnhancedCode{}) && e[0] != r.Code/100 {
		t.Fatalf("enhanced code %v of %d", e, r.Code)
	}
}

func FuzzEnhancedCode(f *testing.F) {
	for _, s := range []string{"5.1.1", "2.0.0", "4.999.999", "3.1.1", "5.01.1", "5.1.1.1", "5.1.1 x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := ParseEnhancedCode(s)
		if ok && e.String() != s {
			t.Fatalf("%q is written as %q", s, e)
		}
		if !ok && e != (EnhancedCode{}) {
			t.Fatalf("%q is none and %v", s, e)
		}
		if ok && (e[0] != 2 && e[0] != 4 && e[0] != 5 || max(e[1], e[2]) > 999 || min(e[1], e[2]) < 0) {
			t.Fatalf("%q is %v", s, e)
		}
		if r := NewReply(e[0]*100+50, e, "text"); ok && r.Enhanced() != e {
			t.Fatalf("%v has %v, not %v", r, r.Enhanced(), e)
		}
	})
}

func checkSyntaxError(t *testing.T, err error) {
	t.Helper()
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || !syntax.Reply.Permanent() || syntax.Reply.Enhanced()[0] != 5 {
		t.Fatalf("error %v", err)
	}
	checkWritten(t, syntax.Reply.Append(nil, false), 512, false)
}

func checkParams(t *testing.T, want, got []Param) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("parameters %v, were %v", got, want)
	}
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("parameters %v, were %v", got, want)
		}
	}
}

// sameMail compares all but the parameters.
func sameMail(a, b Mail) bool {
	return a.From == b.From && a.Size == b.Size && a.HasSize == b.HasSize && a.Body == b.Body &&
		a.UTF8 == b.UTF8 && a.RequireTLS == b.RequireTLS && a.Ret == b.Ret && a.EnvID == b.EnvID &&
		a.Auth == b.Auth
}
