package esmtp

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMail(t *testing.T) {
	verp := "bounce-" + strings.Repeat("x", 80) + "=example.com"
	tests := []struct{ in, want string }{
		{"FROM:<a@example.com>", "MAIL FROM:<a@example.com>\r\n"},
		{"from:a@example.com", "MAIL FROM:<a@example.com>\r\n"},
		{"From: <a@example.com> \t ", "MAIL FROM:<a@example.com>\r\n"},
		{"FROM: a@example.com size=1", "MAIL FROM:<a@example.com> size=1\r\n"},
		{"FROM:<>", "MAIL FROM:<>\r\n"},
		{"FROM:<> BODY=8bitmime", "MAIL FROM:<> BODY=8bitmime\r\n"},
		{"FROM:< a@example.com >", "MAIL FROM:<a@example.com>\r\n"},
		{"FROM:<root>", "MAIL FROM:<root>\r\n"},
		{"FROM:<@a.test,@b.test:c@example.com>", "MAIL FROM:<c@example.com>\r\n"},
		{"FROM:<@[IPv6:2001:db8::1]:c@example.com>", "MAIL FROM:<c@example.com>\r\n"},
		{"FROM:<" + verp + "@example.net>", "MAIL FROM:<" + verp + "@example.net>\r\n"},
		{`FROM:<"a> SIZE=1 "@example.com>`, `MAIL FROM:<"a> SIZE=1 "@example.com>` + "\r\n"},
		{`FROM:<"a\"> SIZE=1 "@example.com>`, `MAIL FROM:<"a\"> SIZE=1 "@example.com>` + "\r\n"},
		{
			"FROM:<a@example.com>  SIZE=18446744073709551615\tRET=HDRS ENVID=QQ+2B AUTH=<> REQUIRETLS",
			"MAIL FROM:<a@example.com> SIZE=18446744073709551615 RET=HDRS ENVID=QQ+2B AUTH=<> REQUIRETLS\r\n",
		},
		{"FROM:<é@example.com> SMTPUTF8", "MAIL FROM:<é@example.com> SMTPUTF8\r\n"},
		{"FROM:<a@example.com> ENVID=a=b", "MAIL FROM:<a@example.com> ENVID=a=b\r\n"},
		{"FROM:<a@example.com> AUTH=e+3Dmc2@example.com", "MAIL FROM:<a@example.com> AUTH=e+3Dmc2@example.com\r\n"},
	}
	for _, tt := range tests {
		m, err := ParseMail(tt.in)
		if err != nil {
			t.Errorf("ParseMail(%q): %v", tt.in, err)
			continue
		}
		if got := string(m.Append(nil, nil)); got != tt.want {
			t.Errorf("ParseMail(%q) writes %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseMailFields(t *testing.T) {
	m, err := ParseMail("FROM:<a@example.com> size=5000000000 Body=8BitMime SmtpUtf8 RequireTLS " +
		"Ret=full EnvID=x+20y Auth=<>")
	if err != nil {
		t.Fatal(err)
	}
	want := Mail{
		From: mustAddress(t, "a@example.com"), Size: 5e9, HasSize: true, Body: "8BITMIME",
		UTF8: true, RequireTLS: true, Ret: "FULL", EnvID: "x+20y", Auth: "<>",
	}
	if len(m.Params) != 7 || m.Params[0] != (Param{"size", "5000000000", true}) {
		t.Errorf("params = %v", m.Params)
	}
	m.Params = nil
	if diff := cmp.Diff(want, m, cmp.AllowUnexported(Address{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Without Params the fields are written.
	const line = "MAIL FROM:<a@example.com> SIZE=5000000000 BODY=8BITMIME SMTPUTF8 REQUIRETLS " +
		"RET=FULL ENVID=x+20y AUTH=<>\r\n"
	if got := string(m.Append(nil, nil)); got != line {
		t.Errorf("from the fields: %q, want %q", got, line)
	}
	keep := func(keyword string) bool { return keyword == "BODY" }
	if got := string(m.Append(nil, keep)); got != "MAIL FROM:<a@example.com> BODY=8BITMIME\r\n" {
		t.Errorf("kept: %q", got)
	}
}

func TestParseMailRefuses(t *testing.T) {
	tests := []struct{ in, reply string }{
		{"", "501 5.5.4"},
		{"FROM", "501 5.5.4"},
		{"FROM:", "501 5.5.4"},
		{"TO:<a@example.com>", "501 5.5.4"},
		{"FROM:<a@example.com", "501 5.5.4"},
		{"FROM:<a@example.com>SIZE=1", "501 5.5.4"},
		{`FROM:<"a@example.com>`, "501 5.5.4"},
		{"FROM:a@example.com>", "501 5.1.7"},
		{"FROM:<<a@example.com>>", "501 5.5.4"},
		{"FROM:<..@example.com>", "501 5.1.7"},
		{"FROM:< >", "501 5.1.7"},
		{"FROM:<@a.test:>", "501 5.1.7"},
		{"FROM:<@a.test>", "501 5.1.7"},
		{"FROM:<@:a@example.com>", "501 5.1.7"},
		{"FROM:<@a.test,b.test:a@example.com>", "501 5.1.7"},
		{"FROM:<@[1.2.3.4:a@example.com>", "501 5.1.7"},
		{"FROM:<\"a\r\nRSET\r\n\"@example.com>", "501 5.1.7"},
		{"FROM:<" + strings.Repeat("x", 250) + "@example.com>", "501 5.1.7"},
		{"FROM:<é@example.com>", "553 5.6.7"},
		{"FROM:<a\xff@example.com> SMTPUTF8", "501 5.1.7"},
		{"FROM:<a@example.com> SIZE", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=-1", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=+1", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=1_0", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=0x10", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=18446744073709551616", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=000000000000000000001", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=1 size=1", "501 5.5.4"},
		{"FROM:<a@example.com> BODY=BINARYMIME", "555 5.5.4"},
		{"FROM:<a@example.com> BODY=9BIT", "501 5.5.4"},
		{"FROM:<a@example.com> SMTPUTF8=1", "501 5.5.4"},
		{"FROM:<a@example.com> REQUIRETLS=", "501 5.5.4"},
		{"FROM:<a@example.com> RET=BODY", "501 5.5.4"},
		{"FROM:<a@example.com> ENVID=", "501 5.5.4"},
		{"FROM:<a@example.com> ENVID=+0", "501 5.5.4"},
		{"FROM:<a@example.com> ENVID=+0D+0A", "501 5.5.4"},
		{"FROM:<a@example.com> ENVID=" + strings.Repeat("x", 101), "501 5.5.4"},
		{"FROM:<a@example.com> AUTH=" + strings.Repeat("x", 501), "501 5.5.4"},
		{"FROM:<a@example.com> NOTIFY=NEVER", "555 5.5.4"},
		{"FROM:<a@example.com> XYZ=1", "555 5.5.4"},
		{"FROM:<a@example.com> =1", "501 5.5.4"},
		{"FROM:<a@example.com> -X", "501 5.5.4"},
		{"FROM:<a@example.com> X_Y", "501 5.5.4"},
		{"FROM:<a@example.com> ENVID=\x01", "501 5.5.4"},
		{"FROM:<a@example.com> ENVID=é", "501 5.5.4"},
		{"FROM:<a@example.com> SIZE=1\rX", "501 5.5.4"},
	}
	for _, tt := range tests {
		m, err := ParseMail(tt.in)
		checkRefusal(t, tt.in, err, tt.reply)
		if m.Params != nil || !m.From.IsNull() {
			t.Errorf("ParseMail(%q) returns a value with its error", tt.in)
		}
	}
}

func TestParseRcpt(t *testing.T) {
	tests := []struct {
		in, want string
		utf8     bool
	}{
		{"TO:<a@example.com>", "<a@example.com>", false},
		{"to: a@example.com", "<a@example.com>", false},
		{"TO:<postmaster>", "<postmaster>", false},
		{"TO:<POSTMASTER>", "<POSTMASTER>", false},
		{"TO:<localonly>", "<localonly>", false},
		{"TO:<@relay.test:b@example.com>", "<b@example.com>", false},
		{`TO:<"quoted x"@example.com>`, `<"quoted x"@example.com>`, false},
		{"TO:<a@[127.0.0.1]>", "<a@[127.0.0.1]>", false},
		{"TO:<a@example.com> NOTIFY=never", "<a@example.com> NOTIFY=never", false},
		{
			"TO:<a@example.com> NOTIFY=SUCCESS,failure,DELAY ORCPT=rfc822;orig+2Ba@example.com",
			"<a@example.com> NOTIFY=SUCCESS,failure,DELAY ORCPT=rfc822;orig+2Ba@example.com", false,
		},
		{"TO:<a@example.com> ORCPT=rfc822;b=c@example.com", "<a@example.com> ORCPT=rfc822;b=c@example.com", false},
		{"TO:<a@example.com> ORCPT=utf-8;\\x{E9}@example.com", "<a@example.com> ORCPT=utf-8;\\x{E9}@example.com", false},
		{"TO:<é@example.com> ORCPT=UTF-8;é@example.com", "<é@example.com> ORCPT=UTF-8;é@example.com", true},
	}
	for _, tt := range tests {
		r, err := ParseRcpt(tt.in, tt.utf8)
		if err != nil {
			t.Errorf("ParseRcpt(%q): %v", tt.in, err)
			continue
		}
		if got := string(r.Append(nil, nil)); got != "RCPT TO:"+tt.want+"\r\n" {
			t.Errorf("ParseRcpt(%q) writes %q, want %q", tt.in, got, tt.want)
		}
		fields := Rcpt{To: r.To, Notify: r.Notify, ORCPT: r.ORCPT}
		if got := string(fields.Append(nil, nil)); got != "RCPT TO:"+tt.want+"\r\n" {
			t.Errorf("the fields of %q write %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseRcptRefuses(t *testing.T) {
	tests := []struct {
		in, reply string
		utf8      bool
	}{
		{"TO:<>", "501 5.1.3", false},
		{"TO:", "501 5.5.4", false},
		{"FROM:<a@example.com>", "501 5.5.4", false},
		{"TO:<a@b@example.com>", "501 5.1.3", false},
		{"TO:<a b@example.com>", "501 5.1.3", false},
		{"TO:a b@example.com", "501 5.5.4", false},
		{"TO:<a@192.0.2.1>", "501 5.1.3", false},
		{"TO:<" + strings.Repeat("x", 65) + "@example.com>", "501 5.1.3", false},
		{"TO:<é@example.com>", "553 5.6.7", false},
		{"TO:<a\x00@example.com>", "501 5.1.3", false},
		{"TO:<a@example.com> NOTIFY=NEVER,SUCCESS", "501 5.5.4", false},
		{"TO:<a@example.com> NOTIFY=", "501 5.5.4", false},
		{"TO:<a@example.com> NOTIFY=SUCCESS,", "501 5.5.4", false},
		{"TO:<a@example.com> NOTIFY=SUCCESS NOTIFY=DELAY", "501 5.5.4", false},
		{"TO:<a@example.com> ORCPT=a@example.com", "501 5.5.4", false},
		{"TO:<a@example.com> ORCPT=;a", "501 5.5.4", false},
		{"TO:<a@example.com> ORCPT=rfc822;", "501 5.5.4", false},
		{"TO:<a@example.com> ORCPT=rfc822;+", "501 5.5.4", false},
		{"TO:<a@example.com> ORCPT=rfc(822;a", "501 5.5.4", false},
		{"TO:<a@example.com> ORCPT=rfc822;é", "501 5.5.4", true},
		{"TO:<a@example.com> ORCPT=utf-8;é", "501 5.5.4", false},
		{"TO:<a@example.com> ORCPT=utf-8;\\x{}", "501 5.5.4", true},
		{"TO:<a@example.com> ORCPT=utf-8;\\x{E9", "501 5.5.4", true},
		{"TO:<a@example.com> ORCPT=utf-8;\\y", "501 5.5.4", true},
		{"TO:<a@example.com> ORCPT=utf-8;\\x{XY}", "501 5.5.4", true},
		{"TO:<a@example.com> ORCPT=rfc822;" + strings.Repeat("x", 500), "501 5.5.4", false},
		{"TO:<a@example.com> SIZE=1", "555 5.5.4", false},
	}
	for _, tt := range tests {
		_, err := ParseRcpt(tt.in, tt.utf8)
		checkRefusal(t, tt.in, err, tt.reply)
	}
}

// A value that no parser made cannot put more on the wire than one line with one path.
func TestAppendWritesNothingForged(t *testing.T) {
	m := Mail{
		From: mustAddress(t, "a@example.com"),
		Auth: "x\r\nRSET", EnvID: "a b", Body: "8BITMIME",
	}
	if got := string(m.Append(nil, nil)); got != "MAIL FROM:<a@example.com> BODY=8BITMIME\r\n" {
		t.Errorf("forged fields: %q", got)
	}
	r := Rcpt{To: m.From, Params: []Param{
		{Keyword: "A B"},
		{Keyword: "A=B"},
		{Keyword: "A", Value: "B"},
		{Keyword: ""},
		{Keyword: "X", Value: "\xff", HasValue: true},
		{Keyword: "Y", HasValue: true},
	}}
	if got := string(r.Append(nil, nil)); got != "RCPT TO:<a@example.com> Y=\r\n" {
		t.Errorf("forged parameters: %q", got)
	}
}

func checkRefusal(t *testing.T, in string, err error, reply string) {
	t.Helper()
	var syntax *SyntaxError
	if !errors.As(err, &syntax) {
		t.Errorf("%q: error %v, want a SyntaxError", in, err)
		return
	}
	if got := syntax.Reply.String(); !strings.HasPrefix(got, reply+" ") {
		t.Errorf("%q: reply %q, want %s", in, got, reply)
	}
}

func mustAddress(tb testing.TB, s string) Address {
	tb.Helper()
	a, err := ParseAddress(s, true)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func BenchmarkParseRcpt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRcpt("TO:<first.last@example.com> NOTIFY=NEVER", false); err != nil {
			b.Fatal(err)
		}
	}
}
