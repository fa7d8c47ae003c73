package esmtp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	tests := []struct {
		name, in string
		code     int
		text     string
	}{
		{"one line", "250 2.0.0 ok\r\n", 250, "2.0.0 ok"},
		{"no text", "250\r\n", 250, ""},
		{"blank only", "250 \r\n", 250, ""},
		{"several", "550-5.1.1 no\r\n550-such\r\n550 5.1.1 user\r\n", 550, "5.1.1 no\nsuch\n5.1.1 user"},
		{"last without text", "250-a\r\n250\r\n", 250, "a\n"},
		{"octets", "554 a\x00\x1b[1m\xff\t\r\n", 554, "a\x00\x1b[1m\xff\t"},
		{"354", "354 go\r\n", 354, "go"},
		{"odd second digit", "590 x\r\n", 590, "x"},
		{"at the limit", "250 " + strings.Repeat("x", 4092) + "\r\n", 250, strings.Repeat("x", 4092)},
		{"one beyond", "250 " + strings.Repeat("x", 4093) + "\r\n", 250, strings.Repeat("x", 4092)},
		{"two beyond", "250 " + strings.Repeat("x", 4094) + "\r\n", 250, strings.Repeat("x", 4092)},
		{"far beyond", "250 " + strings.Repeat("x", 60000) + "\r\n", 250, strings.Repeat("x", 4092)},
		{"100 lines", strings.Repeat("250-x\r\n", 99) + "250 x\r\n", 250, strings.Repeat("x\n", 99) + "x"},
	}
	for _, tt := range tests {
		for _, size := range []int{16, 4096, 8192} {
			br := bufio.NewReaderSize(strings.NewReader(tt.in+"221 next\r\n"), size)
			r, err := ReadReply(br)
			if err != nil || r.Code != tt.code || r.Text() != tt.text {
				t.Errorf("%s: %d %.80q, %v", tt.name, r.Code, r.Text(), err)
			}
			if next, err := ReadReply(br); err != nil || next.Code != 221 {
				t.Errorf("%s: the next reply is %v, %v", tt.name, next, err)
			}
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for _, in := range []string{
		"\r\n", "25\r\n", "hello\r\n", "199 x\r\n", "999 x\r\n", "600 x\r\n", "100 x\r\n", "2x0 x\r\n",
		"25O x\r\n", "2500 x\r\n", "250\tx\r\n", " 250 x\r\n", "250_x\r\n", "-250 x\r\n",
		"250-a\r\n550 b\r\n", "250-a\r\n251 b\r\n",
		"250 a\n", "250 a\rb\r\n", "250 a\r\r\n", "250-a\n250 b\r\n", "\n250 ok\r\n",
		strings.Repeat("250-x\r\n", 100) + "250 x\r\n",
		"250 " + strings.Repeat("x", 65536) + "\r\n",
		strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", 66) + "250 x\r\n",
	} {
		for _, size := range []int{16, 4096} {
			r, err := ReadReply(bufio.NewReaderSize(strings.NewReader(in), size))
			var protocol *ProtocolError
			if !errors.As(err, &protocol) || !r.IsZero() {
				t.Errorf("%.40q: %v, %v; want a ProtocolError", in, r, err)
			}
		}
	}
}

func TestReadReplyCut(t *testing.T) {
	for in, want := range map[string]error{
		"":                                 io.EOF,
		"2":                                io.ErrUnexpectedEOF,
		"250 2.0.0 par":                    io.ErrUnexpectedEOF,
		"250 ok\r":                         io.ErrUnexpectedEOF,
		"250-one\r\n":                      io.ErrUnexpectedEOF,
		"250-one\r\n250":                   io.ErrUnexpectedEOF,
		"250 " + strings.Repeat("x", 9000): io.ErrUnexpectedEOF,
	} {
		r, err := ReadReply(bufio.NewReader(strings.NewReader(in)))
		if !errors.Is(err, want) || !r.IsZero() {
			t.Errorf("%.20q: %v, %v; want %v", in, r, err, want)
		}
	}
}

func TestEnhanced(t *testing.T) {
	tests := []struct {
		code int
		text string
		want EnhancedCode
	}{
		{550, "5.1.1 no such user", EnhancedCode{5, 1, 1}},
		{550, "5.1.1", EnhancedCode{5, 1, 1}},
		{550, "5.1.1: unknown", EnhancedCode{5, 1, 1}},
		{550, "#5.1.0 Address rejected.", EnhancedCode{5, 1, 0}},
		{550, "5.7.750 banned", EnhancedCode{5, 7, 750}},
		{550, "5.1.1 a\n5.7.1 b", EnhancedCode{5, 7, 1}},
		{550, "5.1.1 a\nb", EnhancedCode{5, 1, 1}},
		{550, "4.7.1 wrong class", EnhancedCode{}},
		{550, "5.1.1 right\n4.7.1 wrong class", EnhancedCode{5, 1, 1}},
		{450, "4.2.1 later", EnhancedCode{4, 2, 1}},
		{550, "5.1", EnhancedCode{}},
		{550, "5.1.1.2 is an address", EnhancedCode{}},
		{550, "5.1.1000 x", EnhancedCode{}},
		{550, "5.01.1 x", EnhancedCode{}},
		{550, "User 5.1.1 unknown", EnhancedCode{}},
		{354, "3.0.0 go", EnhancedCode{}},
		{550, "", EnhancedCode{}},
	}
	for _, tt := range tests {
		r := NewReply(tt.code, EnhancedCode{}, tt.text)
		if got := r.Enhanced(); got != tt.want {
			t.Errorf("%v: %v, want %v", r, got, tt.want)
		}
	}
	for _, s := range []string{"2.0.0", "5.1.1", "4.999.0"} {
		if e, ok := ParseEnhancedCode(s); !ok || e.String() != s {
			t.Errorf("ParseEnhancedCode(%q) = %v, %v", s, e, ok)
		}
	}
	for _, s := range []string{"", "5.1.1 ", "#5.1.1", "3.1.1", "5.1", "5..1", "5.1.1.", "5.1.01", "+5.1.1"} {
		if e, ok := ParseEnhancedCode(s); ok {
			t.Errorf("ParseEnhancedCode(%q) = %v", s, e)
		}
	}
}

func TestReplyAppend(t *testing.T) {
	tests := []struct {
		name  string
		reply Reply
		utf8  bool
		want  string
	}{
		{"one line", NewReply(250, EnhancedCode{2, 0, 0}, "ok"), false, "250 2.0.0 ok\r\n"},
		{"several", NewReply(550, EnhancedCode{5, 1, 1}, "a\nb"), false, "550-5.1.1 a\r\n550 5.1.1 b\r\n"},
		{"no lines", Reply{Code: 250}, false, "250 \r\n"},
		{"zero", Reply{}, false, "451 \r\n"},
		{"no code of a reply", Reply{Code: 999, Lines: []string{"x"}}, false, "451 x\r\n"},
		{
			"octets",
			Reply{Code: 550, Lines: []string{"a\r\nb\x00\x1b\t\x7fé\\"}},
			false,
			`550 a\x0d\x0ab\x00\x1b\x09\x7f\xc3\xa9\` + "\r\n",
		},
		{
			"UTF-8",
			Reply{Code: 550, Lines: []string{"é\x80\u0085\u202e日"}},
			true,
			`550 é\x80\xc2\x85\xe2\x80\xae日` + "\r\n",
		},
		{
			"long",
			Reply{Code: 550, Lines: []string{strings.Repeat("x", 600)}},
			false,
			"550 " + strings.Repeat("x", 506) + "\r\n",
		},
		{
			"cut before an escape",
			Reply{Code: 550, Lines: []string{strings.Repeat("x", 503) + "\x00\x00"}},
			false, "550 " + strings.Repeat("x", 503) + "\r\n",
		},
		{
			"cut before a character",
			Reply{Code: 550, Lines: []string{strings.Repeat("x", 505) + "é"}},
			true, "550 " + strings.Repeat("x", 505) + "\r\n",
		},
	}
	for _, tt := range tests {
		if got := string(tt.reply.Append(nil, tt.utf8)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestReplyString(t *testing.T) {
	for want, r := range map[string]Reply{
		"":                                 {},
		"550 5.1.1 no such user":           NewReply(550, EnhancedCode{5, 1, 1}, "no such user"),
		`550 a\x1b / b`:                    {Code: 550, Lines: []string{"a\x1b", "b"}},
		"250":                              {Code: 250, Lines: []string{""}},
		"250 a / / b":                      {Code: 250, Lines: []string{"a", "", "b"}},
		"250 " + strings.Repeat("x", 1020): {Code: 250, Lines: []string{strings.Repeat("x", 5000), "y"}},
	} {
		if got := r.String(); got != want {
			t.Errorf("%.60q, want %.60q", got, want)
		}
	}
	r := NewReply(450, EnhancedCode{}, "x")
	if r.Positive() || r.Intermediate() || !r.Transient() || r.Permanent() || r.IsZero() {
		t.Error("the class of 450 is wrong")
	}
}

func BenchmarkReadReply(b *testing.B) {
	const in = "550-5.1.1 The email account that you tried to reach does not exist.\r\n" +
		"550 5.1.1 Please check the address.\r\n"
	sr := strings.NewReader(in)
	br := bufio.NewReader(sr)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		sr.Reset(in)
		br.Reset(sr)
		if _, err := ReadReply(br); err != nil {
			b.Fatal(err)
		}
	}
}
