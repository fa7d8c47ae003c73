package esmtp

import (
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
		{`""@example.com`, "", "example.com", `""@example.com`},
		{"a%b!c@example.com", "a%b!c", "example.com", "a%b!c@example.com"},
		{"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"},
		{"a@[ipv6:2001:DB8::0:1]", "a", "[IPv6:2001:db8::1]", "a@[ipv6:2001:DB8::0:1]"},
		{"a@my_host.example.com", "a", "my_host.example.com", "a@my_host.example.com"},
		{"a@ab--cd.example.com", "a", "ab--cd.example.com", "a@ab--cd.example.com"},
		{"a@xn--zzzzzz.example.com", "a", "xn--zzzzzz.example.com", "a@xn--zzzzzz.example.com"},
		{"a@localhost", "a", "localhost", "a@localhost"},
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
	}
}
