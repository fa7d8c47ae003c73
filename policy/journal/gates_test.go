package journal

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
)

func suppressed(tb testing.TB, reason register.Reason) *policy.Decision {
	tb.Helper()
	d := refused(tb, "robert@example.net", "SUPPRESS")
	d.Result, d.Rule = nil, "built-in: suppression list"
	d.Suppression = &register.Suppression{
		Address: "robert@example.net", Reason: reason, Source: "feedback",
		Scope:    register.Scope{Kind: register.Login, Name: "alice@example.org"},
		Evidence: "550 5.1.1 <robert@example.net> unknown", Created: at, Expires: at.Add(24 * time.Hour),
	}
	return d
}

func held(tb testing.TB) *policy.Decision {
	tb.Helper()
	d := refused(tb, "robert@example.net", "HELD")
	d.Result, d.Rule, d.Action = nil, "built-in: list hygiene", policy.Defer
	d.Reply = esmtp.NewReply(450, esmtp.EnhancedCode{4, 7, 1}, "later")
	d.Hold = &senders.Hold{
		Kind: senders.Held, Name: "list hygiene", Key: "login:alice@example.org",
		Wait: 90*time.Minute + time.Millisecond, Detail: "12 % of 200 recipients do not exist",
	}
	return d
}

func overridden(tb testing.TB, kind register.OverrideKind, name string) *policy.Decision {
	tb.Helper()
	d := accepted(tb, "robert@example.net")
	d.Result, d.Rule = nil, "built-in: override"
	d.Override = &register.Override{Kind: kind, Name: name, Note: "asked by robert@example.net", Created: at}
	return d
}

// TestGates: what stood before the rules is in the line and comes back from it, without what may
// not be told.
func TestGates(t *testing.T) {
	tx, ms := transaction(t), at.Truncate(time.Millisecond)
	line := func(d *policy.Decision, mode string) (string, Entry) {
		return lineOf(t, itemOf(tx, d, d.Reply, false), mode)
	}
	_, e := line(suppressed(t, register.HardBounce), RedactOff)
	if diff := cmp.Diff(&Suppression{
		Address: "robert@example.net", Scope: "login:alice@example.org", Reason: "hard_bounce",
		Evidence: "550 5.1.1 <robert@example.net> unknown", Source: "feedback", Created: ms,
		Expires: ms.Add(24 * time.Hour),
	}, e.Suppression); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	_, e = line(held(t), RedactOff)
	if diff := cmp.Diff(&Hold{
		Kind: "held", Name: "list hygiene", Key: "login:alice@example.org", Wait: 5401,
		Detail: "12 % of 200 recipients do not exist",
	}, e.Hold); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	_, e = line(overridden(t, register.AllowAddress, "robert@example.net"), RedactOff)
	if diff := cmp.Diff(&Override{
		Kind: "address", Name: "robert@example.net", Note: "asked by robert@example.net", Created: ms,
	}, e.Override); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, mode := range []string{RedactLocal, RedactHash} {
		for _, d := range []*policy.Decision{
			suppressed(t, register.Complaint), held(t),
			overridden(t, register.AllowAddress, "robert@example.net"),
		} {
			if text, _ := line(d, mode); strings.Contains(text, "robert") || strings.Contains(text, "alice") {
				t.Errorf("%s: %s", mode, text)
			}
		}
	}
	r := redactor{mode: RedactLocal}
	for in, want := range map[string]string{
		"login:bob": "login:b…", "sender:bob@example.com": "sender:b…@example.com",
		"sender_domain:example.com": "sender_domain:example.com", "client:192.0.2.7": "client:192.0.2.7",
		"client:2001:db8::1": "client:2001:db8::1", "global": "global", "sender:a@b@c d": "sender:" + hidden,
	} {
		if got := r.keyed(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"*@example.com": "*@example.com", "*@*.example.com": "*@*.example.com", "google": "google",
		"bob@example.com": "b…@example.com",
	} {
		if got := r.name(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

// TestExplainGates: `why` says who stood in the way and how to get by.
func TestExplainGates(t *testing.T) {
	tx := transaction(t)
	for _, c := range []struct {
		d    *policy.Decision
		mode string
		want []string
	}{
		{suppressed(t, register.HardBounce), RedactOff, []string{
			"Reason       hard bounce, says feedback", "for mail of login:alice@example.org",
			"Since        23 November 2026 at 14:15:02 UTC, until 24 November",
			"rcptgate suppress remove -c FILE robert@example.net --scope login:alice@example.org",
			"rcptgate override allow -c FILE robert@example.net --for 7d",
		}},
		{suppressed(t, register.HardBounce), RedactLocal, []string{
			"rcptgate suppress remove -c FILE ADDRESS --scope login:NAME",
		}},
		{held(t), RedactOff, []string{
			"Must wait    it is held: list hygiene", "How long     at least 1h30m1s",
			"Why          12 % of 200 recipients do not exist",
			"rcptgate senders release -c FILE login:alice@example.org",
		}},
		{overridden(t, register.AllowDomain, ".example.net"), RedactOff, []string{
			"Lets pass    the domain .example.net", "without an end",
			"rcptgate override revoke -c FILE --domain .example.net",
		}},
		{overridden(t, register.AllowProvider, "google"), RedactOff, []string{
			"rcptgate override revoke -c FILE --provider google",
		}},
		{overridden(t, register.AllowAddress, "robert@example.net"), RedactOff, []string{
			"rcptgate override revoke -c FILE robert@example.net",
		}},
	} {
		_, e := lineOf(t, itemOf(tx, c.d, c.d.Reply, false), c.mode)
		got := explained(t, &e)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%q is missing in\n%s", want, got)
			}
		}
	}
}

// TestGateNames: the engine names its gate as `why` knows it, and gives what is recorded.
func TestGateNames(t *testing.T) {
	list, err := register.Open(nil, register.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	if err := list.Suppress(register.Suppression{
		Address: "robert@example.net", Reason: register.HardBounce, Source: "feedback",
	}); err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(policy.Config{Register: list}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	tx := transaction(t)
	d := engine.Rcpt(t.Context(), tx, esmtp.Rcpt{To: address(t, "robert@example.net")})
	if d.Rule != suppressionGate {
		t.Errorf("the gate is called %q", d.Rule)
	}
	j := open(t, Config{})
	j.record(tx, &d)
	e, ok := j.Find(d.Ref)
	if !ok || e.Suppression == nil || e.Suppression.Scope != "global" {
		t.Fatalf("%v, %+v", ok, e)
	}
	got := explained(t, &e)
	if !strings.Contains(got, "suppress remove -c FILE robert@example.net\n") ||
		!strings.Contains(got, "or let it pass for some time:") {
		t.Error(got)
	}
	e.Rule = "a rule of the configuration"
	if got := explained(t, &e); !strings.Contains(got, "suppress remove -c FILE robert@example.net\n") ||
		!strings.Contains(got, "If the decision was wrong") {
		t.Error(got)
	}
}

// TestProven: what is told as a hard bounce.
func TestProven(t *testing.T) {
	tx := transaction(t)
	for _, c := range []struct {
		name string
		d    *policy.Decision
		want bool
	}{
		{"by proof", refused(t, "bob@example.net", "REF"), true},
		{"a bounce seen", suppressed(t, register.HardBounce), true},
		{"a complaint", suppressed(t, register.Complaint), false},
		{"by the administrator", suppressed(t, register.Manual), false},
		{"a sender who waits", held(t), false},
		{"passed", overridden(t, register.AllowProvider, "google"), false},
	} {
		if got := itemOf(tx, c.d, c.d.Reply, false).proven(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
