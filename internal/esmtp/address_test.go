package esmtp

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		in, local, ascii, out string
	}{
		{"user@example.com", "user", "example.com", "user@example.com"},
		{"User.Name+tag@Example.COM.", "User.Name+tag", "example.com", "User.Name+tag@Example.COM"},
		{`"a b"@example.com`, "a b", "example.com", `"a b"@example.com`},
		{`"plain"@example.com`, "plain", "example.com", "plain@example.com"},
		{`"a\b\"c\\"@example.com`, `ab"c\`, "example.com", `"ab\"c\\"@example.com`},
		{`"a@b"@example.com`, "a@b", "example.com", `"a@b"@example.com`},
		{`".a"@example.com`, ".a", "example.com", `".a"@example.com`},
		{`"a..b"@example.com`, "a..b", "example.com", `"a..b"@example.com`},
		{`a..b@example.com`, "a..b", "example.com", `"a..b"@example.com`},
		{`.a@example.com`, ".a", "example.com", `".a"@example.com`},
		{`a.@example.com`, "a.", "example.com", `"a."@example.com`},
		{`""@example.com`, "", "example.com", `""@example.com`},
		{
			`"victim@evil.test> NOTIFY=NEVER "@example.com`, "victim@evil.test> NOTIFY=NEVER ",
			"example.com", `"victim@evil.test> NOTIFY=NEVER "@example.com`,
		},
		{"a%b!c@example.com", "a%b!c", "example.com", "a%b!c@example.com"},
		{"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"},
		{"a@[ipv6:2001:DB8::0:1]", "a", "[IPv6:2001:db8::1]", "a@[ipv6:2001:DB8::0:1]"},
		{"a@my_host.example.com", "a", "my_host.example.com", "a@my_host.example.com"},
		{"a@ab--cd.example.com", "a", "ab--cd.example.com", "a@ab--cd.example.com"},
		{"a@xn--zzzzzz.example.com", "a", "xn--zzzzzz.example.com", "a@xn--zzzzzz.example.com"},
		{"a@localhost", "a", "localhost", "a@localhost"},
		{"a@1.example", "a", "1.example", "a@1.example"},
		{"PostMaster", "PostMaster", "", "PostMaster"},
		{long + "@example.com", long, "example.com", long + "@example.com"},
	}
	for _, tt := range tests {
		a, err := ParseAddress(tt.in, false)
		if err != nil {
			t.Errorf("ParseAddress(%q): %v", tt.in, err)
			continue
		}
		if a.Local() != tt.local || a.ASCIIDomain() != tt.ascii || a.String() != tt.out {
			t.Errorf("ParseAddress(%q) = %q, %q, %q; want %q, %q, %q", tt.in,
				a.Local(), a.ASCIIDomain(), a.String(), tt.local, tt.ascii, tt.out)
		}
		if want := "<" + tt.out + ">"; string(a.AppendPath(nil)) != want {
			t.Errorf("path of %q = %q, want %q", tt.in, a.AppendPath(nil), want)
		}
		if want := tt.local + "@" + tt.ascii; a.Key() != want {
			t.Errorf("key of %q = %q, want %q", tt.in, a.Key(), want)
		}
		if a.IsNull() || a.NeedsUTF8() {
			t.Errorf("%q: null %v, needs UTF-8 %v", tt.in, a.IsNull(), a.NeedsUTF8())
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	label := strings.Repeat("b", 63)
	tests := []struct{ name, in string }{
		{"empty", ""},
		{"no domain", "user"},
		{"empty domain", "user@"},
		{"empty local part", "@example.com"},
		{"brackets", "<user@example.com>"},
		{"two @", "a@b@example.com"},
		{"dots only", "..@example.com"},
		{"blank", "a b@example.com"},
		{"blank around", " a@example.com"},
		{"unclosed quotes", `"a@example.com`},
		{"text behind quotes", `"a"b@example.com`},
		{"quotes within", `a"b"@example.com`},
		{"mixed", `a."b"@example.com`},
		{"quoted without domain", `"a"`},
		{"nothing quoted without domain", `""`},
		{"pair at the end", `"a\`},
		{"NUL", "a\x00@example.com"},
		{"CR", "a\r@example.com"},
		{"LF", "\"a\n\"@example.com"},
		{"quoted CRLF", "\"a\r\nRCPT TO:<b\"@example.com"},
		{"tab", "\"a\tb\"@example.com"},
		{"DEL", "a\x7f@example.com"},
		{"8 bit", "\xe9@example.com"},
		{"UTF-8", "é@example.com"},
		{"UTF-8 domain", "a@bücher.example"},
		{"IP address without brackets", "a@192.0.2.1"},
		{"numeric TLD", "a@example.123"},
		{"long local part", strings.Repeat("a", 65) + "@example.com"},
		{"long quoted local part", `"` + strings.Repeat(" ", 63) + `"@example.com`},
		{"long label", "a@b" + label + ".example"},
		{"long domain", "a@" + strings.Repeat(label+".", 4) + "example"},
		{"long path", strings.Repeat("a", 64) + "@" + strings.Repeat(label+".", 3) + "example"},
		{"empty label", "a@b..example"},
		{"leading dot of the domain", "a@.example"},
		{"two trailing dots", "a@example.com.."},
		{"hyphen first", "a@-b.example"},
		{"hyphen last", "a@b-.example"},
		{"bracket in the domain", "a@b>.example"},
		{"blank in the domain", "a@b example.com"},
		{"slash in the domain", "a@b/c.example"},
		{"literal of nothing", "a@[]"},
		{"literal unclosed", "a@[192.0.2.1"},
		{"literal with text behind", "a@[192.0.2.1]x"},
		{"literal out of range", "a@[192.0.2.256]"},
		{"literal of IPv6 without tag", "a@[2001:db8::1]"},
		{"literal of IPv4 with tag", "a@[IPv6:192.0.2.1]"},
		{"literal with a zone", "a@[IPv6:fe80::1%eth0]"},
		{"general literal", "a@[x:y]"},
		{"bare tag", "a@[IPv6:]"},
	}
	for _, tt := range tests {
		a, err := ParseAddress(tt.in, false)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: ParseAddress(%q) = %q, %v; want a SyntaxError", tt.name, tt.in, a, err)
			continue
		}
		if !syntax.Reply.Permanent() || a != (Address{}) {
			t.Errorf("%s: reply %v, address %v", tt.name, syntax.Reply, a)
		}
	}
}

func TestParseAddressUTF8(t *testing.T) {
	a, err := ParseAddress("josé@example.com", true)
	if err != nil {
		t.Fatal(err)
	}
	if !a.NeedsUTF8() || a.String() != "josé@example.com" || a.Redacted() != "j…@example.com" {
		t.Errorf("needs UTF-8 %v, %q, %q", a.NeedsUTF8(), a, a.Redacted())
	}
	if _, ok := a.ASCII(); ok {
		t.Error("a local part beyond ASCII has an ASCII form")
	}
	for _, in := range []string{"a\xff@example.com", "a\u0085b@example.com", `"a\é"@example.com`} {
		if a, err := ParseAddress(in, true); err == nil {
			t.Errorf("ParseAddress(%q) = %q, want an error", in, a)
		}
	}
}

func TestNullAndPostmaster(t *testing.T) {
	var null Address
	if !null.IsNull() || null.String() != "" || string(null.AppendPath(nil)) != "<>" ||
		null.Redacted() != "<>" || null.IsPostmaster() || null.Domain() != "" {
		t.Errorf("null address: %q, %q, %q", null, null.AppendPath(nil), null.Redacted())
	}
	p, err := ParseAddress("postmaster", false)
	if err != nil || !p.IsPostmaster() || p.IsNull() || string(p.AppendPath(nil)) != "<postmaster>" {
		t.Errorf("postmaster: %q, %v", p.AppendPath(nil), err)
	}
	p, err = ParseAddress("postmaster@example.com", false)
	if err != nil || p.IsPostmaster() {
		t.Errorf("postmaster with a domain: %v, %v", p.IsPostmaster(), err)
	}
}

func TestRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"user@example.com":        "u…@example.com",
		`""@example.com`:          "…@example.com",
		"éa@Example.com":          "é…@example.com",
		"\u202ea@example.com":     `\xe2\x80\xae…@example.com`,
		"postmaster":              "p…",
		"a@[192.0.2.1]":           "a…@[192.0.2.1]",
		"\"\\\"quoted\"@a.test":   "\"…@a.test",
		"x@xn--bcher-kva.example": "x…@xn--bcher-kva.example",
	} {
		a, err := ParseAddress(in, true)
		if err != nil || a.Redacted() != want {
			t.Errorf("%q redacted = %q, %v; want %q", in, a.Redacted(), err, want)
		}
	}
}
