package policy_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

func logLine(d policy.Decision, redact bool) string {
	var out bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}
	slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: drop})).
		LogAttrs(context.Background(), slog.LevelInfo, "recipient", d.AppendLog(nil, redact)...)
	return strings.TrimSpace(out.String())
}

func TestAppendLog(t *testing.T) {
	d := engine(t, &known{result: unknownMailbox()}).
		Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
	d.Elapsed = 1234567890
	d.Ref = "KX2M7QRT"
	want := `msg=recipient recipient=bob@example.net action=reject ` +
		`rule="built-in: refuse what is proven undeliverable" reply="550 5.1.1" ref=KX2M7QRT ` +
		`verdict=undeliverable reason=mailbox_unknown confidence=0.99 mx=mx.example.net stage=rcpt ` +
		`mx_reply="550 5.1.1 <bob@example.net>: no such user bob" cached=false wait_ms=1234`
	if got := logLine(d, false); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	want = strings.ReplaceAll(want, "recipient=bob@", "recipient=b…@")
	want = strings.ReplaceAll(want, "<bob@example.net>: no such user bob", "[…] no such user […]")
	if got := logLine(d, true); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestAppendLogNotAsked(t *testing.T) {
	d := engine(t, nil, policy.Rule{Name: "own", When: "true", Action: "accept"}).
		Rcpt(t.Context(), from(t, "a@example.com"), to(t, "bob@example.net"))
	d.Elapsed = 0
	if got := logLine(d, false); got != "msg=recipient recipient=bob@example.net action=accept rule=own wait_ms=0" {
		t.Error(got)
	}
}

// TestAppendLogGates: what gates and marks say stands between the reply and the verdict.
func TestAppendLogGates(t *testing.T) {
	d := policy.Decision{
		Recipient: address(t, "bob@example.net"), Action: policy.Defer, Rule: "it", Marks: []string{"a", "b"},
		Suppression: &register.Suppression{Address: "bob@example.net", Reason: register.Complaint},
		Override:    &register.Override{Kind: register.AllowAddress, Name: "bob@example.net"},
		Hold:        &senders.Hold{Kind: senders.Limited, Name: "few", Key: "login:joe"},
	}
	const want = "msg=recipient recipient=b…@example.net action=defer rule=it marks=a,b suppressed=complaint " +
		"override=address hold=limited limit=few wait_ms=0"
	if got := logLine(d, true); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// TestLogRedacts: nothing of the local part is left in the line, whatever form the server echoes.
func TestLogRedacts(t *testing.T) {
	cases := []struct{ rcpt, echo string }{
		{"confidential@example.net", "<Confidential@EXAMPLE.net>: unknown"},
		{"confidential@example.net", "unknown user: CONFIDENTIAL."},
		{"confidential@example.net", "see https://example.net/?u=confidential%40example.net"},
		{"confidential@example.net", "alias c0@example.net is for confidential-x"},
		{"confidential@example.net", "srs0=confidential=40example.net"},
		{`"confidential one"@example.net`, "no mailbox confidential one here"},
		{"confidentiäl@example.net", "no mailbox confidentiäl here"},
	}
	for _, c := range cases {
		r := unknownMailbox()
		r.Reply = esmtp.Reply{Code: 550, Lines: []string{"5.1.1 " + c.echo}}
		d := engine(t, &known{result: r}).Rcpt(t.Context(), from(t, "a@example.com"), to(t, c.rcpt))
		if got := logLine(d, true); strings.Contains(strings.ToLower(got), "confidenti") {
			t.Errorf("%s, %q: %s", c.rcpt, c.echo, got)
		}
	}
}

// TestLogEscapes: no octet of a mail server can forge a line or reach a terminal.
func TestLogEscapes(t *testing.T) {
	r := unknownMailbox()
	r.MX = "mx\x1b[31m.example.net"
	r.Reply = esmtp.Reply{Code: 550, Lines: []string{"\x1b[2Jx\x07\u202e", "y\x00\xff"}}
	r.Provider = ""
	d := policy.Decision{Recipient: address(t, "bob@example.net"), Result: &r}
	for _, redact := range []bool{true, false} {
		for i, attr := range d.AppendLog(nil, redact) {
			text := attr.Value.String()
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
				t.Errorf("argument %d is %q", i, text)
			}
		}
	}
	d = policy.Decision{Recipient: esmtp.Address{}, Result: &verify.Result{}}
	if got := logLine(d, false); !strings.Contains(got, "verdict=unknown") {
		t.Error(got)
	}
}
