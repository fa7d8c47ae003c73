package esmtp

import (
	"net/netip"
	"strings"
	"testing"
)

func TestXForwardMerge(t *testing.T) {
	var x XForward
	for _, arg := range []string{
		"NAME=spike.example.com ADDR=192.0.2.7 proto=ESMTP",
		"HELO=he+2Blo+3Dx PORT=45708 IDENT=[UNAVAILABLE] SOURCE=LOCAL",
	} {
		if err := x.Merge(arg); err != nil {
			t.Fatal(err)
		}
	}
	want := XForward{
		Name: "spike.example.com", Addr: "192.0.2.7", Proto: "ESMTP", Helo: "he+lo=x",
		Port: "45708", Ident: "[UNAVAILABLE]", Source: "LOCAL",
	}
	if x != want {
		t.Fatalf("got %+v, want %+v", x, want)
	}
	got := string(x.Append(nil, []string{"name", "ADDR", "PROTO", "HELO", "SOURCE", "LOGIN"}))
	const line = "XFORWARD NAME=spike.example.com ADDR=192.0.2.7 HELO=he+2Blo+3Dx " +
		"PROTO=ESMTP SOURCE=LOCAL\r\n"
	if got != line {
		t.Errorf("writes %q, want %q", got, line)
	}
	if got := x.Append(nil, nil); len(got) != 0 {
		t.Errorf("to a server that offers nothing: %q", got)
	}
}

func TestXForwardRefuses(t *testing.T) {
	for _, arg := range []string{
		"", "  ", "NAME", "LOGIN=x", "NAME=+", "NAME=+0A", "NAME=a+00b", "NAME=+7F", "NAME=\xe9",
		"ADDR=example.com", "ADDR=192.0.2.256", "ADDR=IPv6:x", "ADDR=fe80::1%25eth0",
		"PORT=0", "PORT=65536", "PORT=-1", "PORT=x", "PROTO=ES+20MTP", "SOURCE=MOON",
		"HELO=" + strings.Repeat("x", 256), "NAME=ok PORT=x",
	} {
		x := XForward{Name: "before.example.com"}
		checkRefusal(t, arg, x.Merge(arg), "501 5.5.4")
		if x != (XForward{Name: "before.example.com"}) {
			t.Errorf("%q: changed to %+v", arg, x)
		}
	}
}

func TestXForwardClientAddr(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "IPv6:2001:db8::1": "2001:db8::1", "ipv6:2001:db8::1": "2001:db8::1",
		"2001:db8::1": "2001:db8::1", "IPV6:::ffff:192.0.2.1": "192.0.2.1",
		"[UNAVAILABLE]": "", "": "", "[tempunavail]": "",
	} {
		var x XForward
		if err := x.Merge("ADDR=" + in); err != nil {
			t.Errorf("%q: %v", in, err)
		}
		addr, ok := x.ClientAddr()
		if ok != (want != "") || ok && addr != netip.MustParseAddr(want) {
			t.Errorf("%q = %v, %v; want %q", in, addr, ok, want)
		}
	}
}

// Postfix refuses the whole command if the xtext of one value is longer than 255 octets ("attribute
// value too long"): a client that greets with enough "+" could hide its address from the relay so.
func TestXForwardLongXtext(t *testing.T) {
	for _, helo := range []string{
		strings.Repeat("+", 84), strings.Repeat("+", 85), strings.Repeat("+", 86), strings.Repeat("+", 160),
		strings.Repeat("a", 253) + "++", strings.Repeat("é", 100), strings.Repeat("a", 255),
	} {
		x := XForward{Name: "a.example", Addr: "192.0.2.1", Helo: helo, Source: "REMOTE"}
		wire := string(x.Append(nil, xforwardNames()))
		for word := range strings.FieldsSeq(wire) {
			if _, value, ok := strings.Cut(word, "="); ok && len(value) > 255 {
				t.Errorf("a value of %d octets: %.40q...", len(value), word)
			}
		}
		if !strings.Contains(wire, " HELO="+string(AppendXtext(nil, helo[:80]))) {
			t.Errorf("too much was cut: %q", wire)
		}
	}
}

// Values that do not fit one line are spread over several; one that is too long is cut.
func TestXForwardLines(t *testing.T) {
	x := XForward{
		Name: strings.Repeat("n", 255), Helo: strings.Repeat("=", 255), Ident: strings.Repeat("i", 255),
		Proto: "ESMTP", Addr: "192.0.2.1",
	}
	lines := strings.SplitAfter(string(x.Append(nil, xforwardNames())), "\r\n")
	var back XForward
	for _, line := range lines[:len(lines)-1] {
		if len(line) > 512 {
			t.Errorf("a line of %d octets", len(line))
		}
		arg, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r\n"), "XFORWARD ")
		if !ok {
			t.Fatalf("line %q", line)
		}
		if err := back.Merge(arg); err != nil {
			t.Error(err)
		}
	}
	if len(lines) != 4 || len(back.Helo) != 85 {
		t.Errorf("%d lines, HELO of %d octets", len(lines)-1, len(back.Helo))
	}
	back.Helo = x.Helo
	if back != x {
		t.Errorf("got %+v", back)
	}
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "abc": "abc", "a+b=c d": "a+2Bb+3Dc+20d", "é\x00\r\n~": "+C3+A9+00+0D+0A~",
		"[UNAVAILABLE]": "[UNAVAILABLE]",
	} {
		if got := string(AppendXtext(nil, in)); got != want {
			t.Errorf("xtext of %q = %q, want %q", in, got, want)
		}
	}
	for _, bad := range []string{"+", "+4", "+4G", "a b", "\x7f", "é", "a\r\n"} {
		if got, err := ParseXtext(bad); err == nil {
			t.Errorf("ParseXtext(%q) = %q", bad, got)
		}
	}
	if got, err := ParseXtext("a=b+2b"); err != nil || got != "a=b+" {
		t.Errorf("loose xtext: %q, %v", got, err)
	}
}
