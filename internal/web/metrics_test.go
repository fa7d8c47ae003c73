package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// TestBounds: mail to 10,000 domains does not make the metrics grow at all, and 10,000 names of
// rules, limits and providers, as reloads might bring them, only up to what docs/metrics.md says.
func TestBounds(t *testing.T) {
	s := newSite(t, web.Sources{})
	for i := range 10_000 {
		s.metrics.Asked(verify.Asked{Provider: fmt.Sprint("site", i), Result: "accepted"})
	}
	decide := func(domain, rule, hold, provider string) {
		rcpt, err := esmtp.ParseAddress("bob@"+domain, false)
		if err != nil {
			t.Fatal(err)
		}
		s.metrics.Recipient(&policy.Decision{
			Recipient: rcpt, Action: policy.Reject, Rule: rule,
			Hold: &senders.Hold{Kind: senders.Limited, Name: hold, Key: "sender_domain:" + domain},
			Result: &verify.Result{
				Address: rcpt, Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown,
				Provider: provider, MX: "mx." + domain,
			},
		}, false, esmtp.Reply{Code: 550})
	}
	decide("0.example.com", "rule", "limit", "google")
	before := s.series()
	for i := range 10_000 {
		decide(fmt.Sprintf("%d.example.com", i), "rule", "limit", "google")
	}
	if after := s.series(); after["all"] != before["all"] {
		t.Errorf("%d series became %d", before["all"], after["all"])
	}
	for i := range 10_000 {
		decide("example.com", fmt.Sprint("rule ", i), fmt.Sprint("limit ", i), fmt.Sprint("site", i))
	}
	after := s.series()
	// "other" comes on top.
	for name, most := range map[string]int{
		"decisions_total": 1200 + 1, "held_recipients_total": 200 + 1, "provider_verdicts_total": 1000 + 1,
		"probes_total": 2000 + 1,
	} {
		if got := after["rcptgate_"+name]; got != most {
			t.Errorf("%s has %d series, want %d", name, got, most)
		}
	}
	_, body := s.request(http.MethodGet, "/metrics")
	want := fmt.Sprintf("\nrcptgate_decisions_total{action=\"reject\",rule=\"other\"} %d\n", 10_000-1199)
	if !strings.Contains(body, want) {
		t.Errorf("no line %s", want)
	}
}

// series counts the series of each of the gate's metrics, and of all together.
func (s *site) series() map[string]int {
	s.t.Helper()
	_, body := s.request(http.MethodGet, "/metrics")
	n := make(map[string]int)
	for line := range strings.Lines(body) {
		if name, _, ok := strings.Cut(line, "{"); ok && strings.HasPrefix(name, "rcptgate_") {
			n[name]++
			n["all"]++
		}
	}
	return n
}

// TestChecksOfMessages is one message with two findings.
func TestChecksOfMessages(t *testing.T) {
	s := newSite(t, web.Sources{})
	s.metrics.Checked("defer", 3*time.Millisecond)
	s.metrics.Found("dmarc", "defer", true)
	s.metrics.Found("dmarc", "defer", true)
	_, body := s.request(http.MethodGet, "/metrics")
	for _, line := range []string{
		`rcptgate_checked_messages_total{action="defer"} 1`,
		`rcptgate_message_findings_total{check="dmarc",level="defer",result="unknown"} 2`,
		`rcptgate_message_check_duration_seconds_bucket{le="0.004"} 1`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}
