package journal

import (
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

func explained(t *testing.T, e *Entry) string {
	t.Helper()
	var out strings.Builder
	if err := e.Explain(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestExplain is what `why` says of a refusal.
func TestExplain(t *testing.T) {
	tx, d := transaction(t), refused(t, "bob@example.net", "KX2M7QRT")
	_, e := lineOf(t, itemOf(tx, d, d.Reply, false), RedactOff)
	const want = `On 23 November 2026 at 14:15:02 UTC rcptgate refused bob@example.net for good.

The mail
  Reference    KX2M7QRT
  Recipient    bob@example.net
  Sender       news@shop.example.org
  Client       192.0.2.7, app.example.org, greeted with app
  Login        news
  Door         smtp
  Session      3F2A, transaction 3F2A-1

The decision
  Rule         built-in: proven undeliverable
  Reply        550 5.1.1 <bob@example.net>: mailbox does not exist (ref KX2M7QRT)
  Took         1.2s

What was known of the recipient
  Verdict      undeliverable: its mail server knows no such mailbox (mailbox_unknown)
  Sure         the verdict is 99 % sure; mail gets there with 1 %
  Proof        yes: its own server, or its domain, says that it takes no mail
  Provider     google
  Mail server  mx.example.net
  It answered  550 5.1.1 <bob@example.net>: no such\x1b user (to RCPT; read as mailbox_unknown)
  Asked        23 November 2026 at 13:15:02 UTC, 60 minutes before; this time from memory
  Domain       accepts every address with a probability of 2 %
               it last refused a recipient as unknown on 23 November 2026 at 13:15:02 UTC
               1 invented recipients asked for, 0 accepted
               7 recipients accepted, 0 messages delivered, 0 refused afterwards

What to do
  Remove the address from the list; if it is right, ask its owner for another.
  If the decision was wrong, let the recipient pass:
    rcptgate override allow -c FILE bob@example.net --for 7d --note 'why'
  or have what is known of it forgotten, so that it is asked anew:
    rcptgate override forget -c FILE bob@example.net
  See what the rules do with it now, without mail:
    rcptgate explain -c FILE --from news@shop.example.org bob@example.net
`
	if got := explained(t, &e); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestExplainOthers: what other entries must say, and must not.
func TestExplainOthers(t *testing.T) {
	tx := transaction(t)
	bounce := transaction(t)
	bounce.Mail.From = esmtp.Address{}
	plain := refused(t, "-rf'x@example.net", "PLAIN")
	plain.Result = nil
	for _, c := range []struct {
		name   string
		it     *item
		mode   string
		has    []string
		hasNot []string
	}{
		{
			"shadow", itemOf(tx, shadowed(t, "bob@example.net", "REF"), ok250, true), RedactOff,
			[]string{
				"rcptgate accepted bob@example.net.", "In enforce mode it would have refused it for good.",
				"Reply        250 2.1.5 Ok (the relay's)", "Would reply  550 5.1.1",
				"override allow -c FILE bob@example.net",
			},
			[]string{"the relay refused"},
		},
		{
			"accepted", itemOf(bounce, accepted(t, "anna@example.com"), ok250, true), RedactOff,
			[]string{"rcptgate accepted anna@example.com.", "a bounce", "Nothing: the recipient was accepted."},
			[]string{"override", "Proof"},
		},
		{
			"relay", itemOf(tx, accepted(t, "anna@example.com"), esmtp.Reply{Code: 450}, true), RedactOff,
			[]string{"but the relay refused it", "The relay refused, not a rule"},
			[]string{"override"},
		},
		{
			"no verdict", itemOf(tx, plain, plain.Reply, false), RedactOff,
			[]string{"Nothing was asked", `override allow -c FILE '-rf'\''x@example.net' --for`},
			[]string{"forget", "Verdict"},
		},
		{
			"shortened", itemOf(tx, refused(t, "bob@example.net", "REF"), esmtp.Reply{Code: 550}, false),
			RedactLocal,
			[]string{"b…@example.net", "override allow -c FILE ADDRESS --for"},
			[]string{"bob"},
		},
		{
			"limit", itemOf(tx, new(policy.Decision), reply452, false), RedactOff,
			[]string{"refused a recipient for now", "the gate itself answered", "log of session 3F2A"},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, e := lineOf(t, c.it, c.mode)
			got := explained(t, &e)
			for _, s := range c.has {
				if !strings.Contains(got, s) {
					t.Errorf("%q is missing", s)
				}
			}
			for _, s := range c.hasNot {
				if strings.Contains(got, s) {
					t.Errorf("%q is there", s)
				}
			}
			if t.Failed() {
				t.Log(got)
			}
		})
	}
}

// TestStory: the entry with all that happened in its transaction, in order, from memory and from
// the files.
func TestStory(t *testing.T) {
	j := open(t, Config{Path: journalPath(t)})
	tx, other := transaction(t), transaction(t)
	other.ID = "3F2A-2"
	j.record(tx, accepted(t, "anna@example.com"))
	j.record(other, accepted(t, "other@example.com"))
	j.record(tx, refused(t, "bob@example.net", "KX2M7QRT"))
	j.Message(tx, &Message{
		Outcome: "passed", Reply: ok250, QueueID: "4bXyz", Octets: 1000, Accepted: 1, Refused: 1,
	})
	j.record(other, refused(t, "dora@example.net", "OTHER"))
	check := func(s Story) {
		t.Helper()
		var out strings.Builder
		if err := s.Explain(&out); err != nil {
			t.Fatal(err)
		}
		_, list, ok := strings.Cut(out.String(), "\nThe whole transaction\n")
		lines := strings.Split(strings.TrimSpace(list), "\n")
		if !ok || len(lines) != 3 || !strings.Contains(lines[0], "anna@example.com: accept") ||
			!strings.HasPrefix(lines[1], "  * ") || !strings.Contains(lines[1], "reply 550 5.1.1") ||
			!strings.Contains(lines[2], "message: the relay took it as 4bXyz, 1000 octets, reply 250") {
			t.Errorf("the story is\n%s", out.String())
		}
	}
	s, ok := j.Story(t.Context(), "KX2M7QRT")
	if !ok {
		t.Fatal("no story")
	}
	check(s)
	shut(t, j)
	if s, ok, _, err := j.Archive().Story(t.Context(), "KX2M7QRT"); !ok || err != nil {
		t.Error(ok, err)
	} else {
		check(s)
	}
	again := open(t, Config{Path: j.cfg().Path, Recent: 1})
	if s, ok = again.Story(t.Context(), "KX2M7QRT"); ok {
		check(s)
	} else {
		t.Error("a restart has lost the story")
	}
	again.record(tx, refused(t, "last@example.net", "LAST"))
	again.record(other, accepted(t, "x@example.net"))
	if s, ok = again.Story(t.Context(), "LAST"); !ok || len(s.All) != 4 {
		t.Errorf("half in memory: %d entries", len(s.All))
	}
	if _, ok, _, err := again.Archive().Story(t.Context(), "NOSUCH"); ok || err != nil {
		t.Errorf("a story of nothing: %v", err)
	}
}

// TestExplainMessage: a message that its checks refused.
func TestExplainMessage(t *testing.T) {
	m := &Message{
		Outcome: "check_refused", Reply: esmtp.NewReply(550, esmtp.EnhancedCode{5, 7, 20}, "no DKIM (ref AAAA2222)"),
		Octets: 1234, Accepted: 2, Action: "reject", Ref: "AAAA2222", FromDomain: "shop.example.org",
		Findings: []Finding{{Check: "dkim", Level: "reject", Detail: "no valid signature"}},
		Total:    time.Second,
	}
	_, e := lineOf(t, endOf(transaction(t), m), RedactOff)
	got := explained(t, &e)
	for _, s := range []string{
		"a message came to its end: its checks refused it for good.", "From         shop.example.org",
		"dkim         reject: no valid signature", "Mend what the checks found", "Took         1s",
	} {
		if !strings.Contains(got, s) {
			t.Errorf("%q is missing in\n%s", s, got)
		}
	}
	for outcome, want := range map[string]string{
		"passed": "Nothing: the message was taken.", "client_lost": "nothing was delivered",
		"unknown": "relay's log", "end_of_message": "delivers what it took", "bad_content": "Mend what sends it",
	} {
		e := Entry{Kind: KindMessage, Time: at, Message: &MessageEntry{Outcome: outcome}}
		if got := explained(t, &e); !strings.Contains(got, want) {
			t.Errorf("%s: %q is missing in\n%s", outcome, want, got)
		}
	}
}

// TestWords: every reason, stage and outcome that exists has words of its own.
func TestWords(t *testing.T) {
	engine, err := policy.New(policy.Config{}, nil, nil)
	if err != nil || engine == nil {
		t.Fatal(err)
	}
	found := false
	for _, name := range policy.Names() {
		if name.Name != "reason" {
			continue
		}
		found = true
		for _, reason := range name.Values {
			if words := reasonWords(reason); words == strings.ReplaceAll(reason, "_", " ") {
				t.Errorf("the reason %s has no words", reason)
			}
		}
	}
	if !found {
		t.Error("no reasons")
	}
	for _, reason := range []verify.Reason{"some_thing", ""} {
		if got := reasonWords(string(reason)); got != strings.ReplaceAll(string(reason), "_", " ") {
			t.Errorf("%q became %q", reason, got)
		}
	}
}
