package web_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// site is a served web.Server.
type site struct {
	t       *testing.T
	address string
	metrics *web.Metrics
	checks  []web.Check
}

func newSite(t *testing.T, sources web.Sources) *site {
	t.Helper()
	metrics, err := web.NewMetrics(web.Build{Version: "v1", Commit: "abc", GoVersion: "go1"}, sources)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, address: l.Addr().String(), metrics: metrics}
	server := web.New(metrics, func() []web.Check { return s.checks }, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

func (s *site) request(method, path string) (status int, body string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.address+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(data)
}

// busy is a site on which everything has happened.
func busy(t *testing.T) *site {
	t.Helper()
	s := newSite(t, web.Sources{
		Connections: func() int { return 3 },
		Commands: func(fn func(command, class string, n uint64)) {
			fn("EHLO", "2xx", 29)
			fn("other", "5xx", 0)
		},
		Upstreams: func() []web.Upstream {
			return []web.Upstream{{Address: "192.0.2.1:25", Up: true, Open: 5, Idle: 2}, {Address: "unix:/run/relay"}}
		},
		Breaker: func() bool { return true },
		Verifier: func() web.Verifier {
			return web.Verifier{
				Flights: 4, Memory: map[string]int{"deliverable": 10, "undeliverable": 2, "unknown": 1},
				Domains: 5, Histories: 6, Incidents: 1, Scheduled: 8, Tests: 9,
				StoreLookups: map[string]uint64{"hit": 31, "miss": 32},
				Deliveries:   map[string]uint64{"delivered": 11, "ignored": 0},
				Checks:       map[string]uint64{"agreed": 12, "refused_arrived": 1},
			}
		},
		Pauses: func() []web.Pause {
			return []web.Pause{{"google", "blocked_ip", 1}, {"other", "rate_limited", 3}}
		},
		Own: func() (web.Own, bool) {
			return web.Own{
				Checked:  time.Unix(1_700_000_000, 0),
				Findings: map[web.Finding]int{{"ptr", "warning"}: 2},
			}, true
		},
		RelayLog: func() (web.RelayLog, bool) { return web.RelayLog{Readable: true, Lines: 13}, true },
		Store: func() (web.Store, bool) {
			return web.Store{OK: true, Octets: 32768, Dropped: 2, Entries: map[string]int64{"verdicts": 14}}, true
		},
		Kept: func() (web.Kept, bool) {
			return web.Kept{
				Senders: 15, States: map[senders.State]int{senders.StateOK: 15, senders.StateHold: 1},
				Suppressions: map[register.Reason]int{register.Complaint: 16},
				Suppressed:   map[register.Reason]uint64{register.Complaint: 17},
				Overrides:    map[register.OverrideKind]int{register.AllowDomain: 18}, Saved: true,
				Journal: journal.Stats{
					Entries: 19, Lost: 20, Unsaved: 21, Octets: 22, Lines: 23,
					Webhook: journal.WebhookStats{Sent: 24, Retried: 25, GivenUp: 26, Lost: 27, Waiting: 28},
				},
			}, true
		},
		RuleFailures: func() map[string]uint64 { return map[string]uint64{"a rule": 7} },
		Config:       func() (bool, time.Time) { return true, time.Unix(1_800_000_000, 0) },
		Certificate:  func() (time.Time, bool) { return time.Unix(1_900_000_000, 0), true },
	})
	s.metrics.Connection("accepted")
	s.metrics.Message("passed", 2000, time.Second, 20*time.Millisecond)
	s.metrics.Message("client_lost", 10, time.Second, 0)
	s.metrics.Recipient(&policy.Decision{Elapsed: time.Millisecond}, true, esmtp.Reply{Code: 250})
	s.metrics.Recipient(&policy.Decision{
		Result: &verify.Result{Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown, Cached: true},
		Action: policy.Accept, Rule: "a rule", Shadow: policy.Reject,
		Override: &register.Override{Kind: register.AllowDomain},
	}, false, esmtp.Reply{Code: 550})
	s.metrics.Recipient(&policy.Decision{
		Result: &verify.Result{
			Verdict: verify.Deliverable, Reason: verify.MailboxExists, Provider: "google",
			Stage: reply.StageRcpt,
		},
	}, false, esmtp.Reply{})
	s.metrics.PolicydConnection("accepted")
	s.metrics.PolicydRequest("rcpt")
	s.metrics.PolicydRecipient(&policy.Decision{
		Action: policy.Defer, Rule: "built-in: sender limits",
		Hold: &senders.Hold{Kind: senders.Limited, Name: "an hour"},
	}, "defer")
	s.metrics.PolicydRecipient(&policy.Decision{
		Action: policy.Reject, Rule: "last",
		Result: &verify.Result{Verdict: verify.Undeliverable, Reason: verify.DomainUnknown},
	}, "reject")
	s.metrics.Asked(verify.Asked{Provider: "google", Result: "accepted", Elapsed: time.Second})
	s.metrics.Asked(verify.Asked{Result: "unreachable", Elapsed: time.Second})
	s.metrics.Resolved("MX", "NXDOMAIN")
	s.metrics.SenderChanged(senders.StateHold)
	s.metrics.Checked("reject", time.Millisecond)
	s.metrics.Found("spf", "reject", false)
	s.metrics.Found("dmarc", "log", true)
	s.metrics.Reload(true)
	s.metrics.Reload(false)
	return s
}

// TestMetrics looks at the text that Prometheus reads.
func TestMetrics(t *testing.T) {
	s := busy(t)
	status, body := s.request(http.MethodGet, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	for _, line := range []string{
		`rcptgate_build_info{commit="abc",goversion="go1",version="v1"} 1`,
		`rcptgate_checked_messages_total{action="reject"} 1`,
		`rcptgate_checked_messages_total{action="pass"} 0`,
		`rcptgate_decisions_total{action="accept",rule="a rule"} 1`,
		`rcptgate_decisions_total{action="defer",rule="built-in: sender limits"} 1`,
		`rcptgate_decision_duration_seconds_count{source="dns"} 1`,
		`rcptgate_held_recipients_total{kind="limited",name="an hour"} 1`,
		`rcptgate_journal_entries_total 19`,
		`rcptgate_journal_lost_entries_total 20`,
		`rcptgate_journal_unsaved_entries_total 21`,
		`rcptgate_journal_memory_bytes 22`,
		`rcptgate_journal_memory_entries 23`,
		`rcptgate_message_check_duration_seconds_count 1`,
		`rcptgate_message_findings_total{check="spf",level="reject",result="found"} 1`,
		`rcptgate_message_findings_total{check="dmarc",level="log",result="unknown"} 1`,
		`rcptgate_overridden_recipients_total{kind="domain"} 1`,
		`rcptgate_overrides{kind="domain"} 18`,
		`rcptgate_overrides{kind="address"} 0`,
		`rcptgate_policyd_answers_total{answer="defer"} 1`,
		`rcptgate_policyd_connections_total{event="accepted"} 1`,
		`rcptgate_policyd_requests_total{kind="rcpt"} 1`,
		`rcptgate_provider_verdicts_total{provider="google",verdict="deliverable"} 1`,
		`rcptgate_provider_verdicts_total{provider="other",verdict="undeliverable"} 2`,
		`rcptgate_sender_changes_total{to="hold"} 1`,
		`rcptgate_sender_changes_total{to="warn"} 0`,
		`rcptgate_sender_keys 15`,
		`rcptgate_senders{state="hold"} 1`,
		`rcptgate_suppression_hits_total{reason="complaint"} 17`,
		`rcptgate_suppressions{reason="complaint"} 16`,
		`rcptgate_suppressions_saved 1`,
		`rcptgate_webhook_refusals_total{result="sent"} 24`,
		`rcptgate_webhook_refusals_total{result="given_up"} 26`,
		`rcptgate_webhook_refusals_total{result="lost"} 27`,
		`rcptgate_webhook_retries_total 25`,
		`rcptgate_webhook_waiting 28`,
		`rcptgate_cache_file_lookups_total{result="hit"} 31`,
		`rcptgate_cache_file_lookups_total{result="miss"} 32`,
		`rcptgate_dns_queries_total{status="NXDOMAIN",type="MX"} 1`,
		`rcptgate_dns_queries_total{status="failure",type="TXT"} 0`,
		`rcptgate_probe_duration_seconds_count 2`,
		`rcptgate_probes_total{provider="google",result="accepted"} 1`,
		`rcptgate_probes_total{provider="other",result="unreachable"} 1`,
		`rcptgate_cache_dropped_entries_total 2`,
		`rcptgate_cache_entries{bucket="verdicts"} 14`,
		`rcptgate_cache_file_bytes 32768`,
		`rcptgate_cache_file_ok 1`,
		`rcptgate_catch_all_tests_total 9`,
		`rcptgate_commands_total{code="2xx",command="EHLO"} 29`,
		`rcptgate_commands_total{code="5xx",command="other"} 0`,
		`rcptgate_config_last_reload_success_timestamp_seconds 1.8e+09`,
		`rcptgate_config_last_reload_successful 1`,
		`rcptgate_config_reloads_total{result="refused"} 1`,
		`rcptgate_config_reloads_total{result="taken"} 1`,
		`rcptgate_connections_total{event="accepted"} 1`,
		`rcptgate_connections_total{event="too_many"} 0`,
		`rcptgate_decision_duration_seconds_count{source="memory"} 1`,
		`rcptgate_decision_duration_seconds_count{source="rules"} 2`,
		`rcptgate_decision_duration_seconds_count{source="asked"} 1`,
		`rcptgate_deliveries_total{event="delivered"} 11`,
		`rcptgate_deliveries_total{event="ignored"} 0`,
		`rcptgate_greylist_scheduled 8`,
		`rcptgate_message_size_bytes_bucket{le="4096"} 2`,
		`rcptgate_message_size_bytes_bucket{le="1024"} 1`,
		`rcptgate_messages_total{outcome="client_lost"} 1`,
		`rcptgate_messages_total{outcome="passed"} 1`,
		`rcptgate_messages_total{outcome="unknown"} 0`,
		`rcptgate_open_connections 3`,
		`rcptgate_own_address_findings{kind="ptr",severity="warning"} 2`,
		`rcptgate_own_address_last_check_timestamp_seconds 1.7e+09`,
		`rcptgate_probing_off 1`,
		`rcptgate_provider_incidents 1`,
		`rcptgate_provider_pauses{provider="google",reason="blocked_ip"} 1`,
		`rcptgate_provider_pauses{provider="other",reason="rate_limited"} 3`,
		`rcptgate_questions 4`,
		`rcptgate_ready 1`,
		`rcptgate_recipients_total{by="gate",code="5xx"} 1`,
		`rcptgate_recipients_total{by="gate",code="none"} 1`,
		`rcptgate_recipients_total{by="relay",code="2xx"} 1`,
		`rcptgate_relay_answer_duration_seconds_count 1`,
		`rcptgate_relay_log_lines_total 13`,
		`rcptgate_relay_log_readable 1`,
		`rcptgate_relay_sessions{state="busy",upstream="192.0.2.1:25"} 3`,
		`rcptgate_relay_sessions{state="idle",upstream="192.0.2.1:25"} 2`,
		`rcptgate_relay_up{upstream="192.0.2.1:25"} 1`,
		`rcptgate_relay_up{upstream="unix:/run/relay"} 0`,
		`rcptgate_remembered_deliveries 6`,
		`rcptgate_remembered_domains 5`,
		`rcptgate_remembered_recipients{verdict="undeliverable"} 2`,
		`rcptgate_rule_failures_total{rule="a rule"} 7`,
		`rcptgate_shadowed_recipients_total{action="reject"} 1`,
		`rcptgate_tls_certificate_not_after_timestamp_seconds 1.9e+09`,
		`rcptgate_verdict_checks_total{result="agreed"} 12`,
		`rcptgate_verdict_checks_total{result="refused_arrived"} 1`,
		`rcptgate_verdicts_total{reason="mailbox_unknown",verdict="undeliverable"} 1`,
		`rcptgate_verdicts_total{reason="not_asked",verdict="none"} 2`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestMetricsAreDocumented holds the tables in docs/metrics.md and the code together: names,
// types and labels, in both directions.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	row := regexp.MustCompile("(?m)^\\| `(rcptgate_[a-z_]+)` \\| (\\w+) \\|([^|]*)\\|")
	for _, match := range row.FindAllStringSubmatch(string(page), -1) {
		labels := regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(match[3], -1)
		words := []string{match[1], match[2]}
		for _, label := range labels {
			words = append(words, label[1])
		}
		want = append(want, strings.Join(words, " "))
	}
	slices.Sort(want)

	_, body := busy(t).request(http.MethodGet, "/metrics")
	if diff := cmp.Diff(want, described(body)); diff != "" {
		t.Errorf("the page (-) and the code (+) differ:\n%s", diff)
	}
}

// described lists the gate's own metrics in a scrape as "name type label...".
func described(body string) []string {
	kinds, labels := map[string]string{}, map[string]string{}
	sample := regexp.MustCompile(`^(rcptgate_[a-z_]+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`([a-z_]+)="(?:[^"\\]|\\.)*"`)
	for scanner := bufio.NewScanner(strings.NewReader(body)); scanner.Scan(); {
		line := scanner.Text()
		if name, kind, ok := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " "); ok &&
			strings.HasPrefix(line, "# TYPE rcptgate_") {
			kinds[name] = kind
			continue
		}
		match := sample.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		name := match[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); kinds[base] == "histogram" {
				name = base
			}
		}
		var names []string
		for _, l := range label.FindAllStringSubmatch(match[2], -1) {
			if l[1] != "le" {
				names = append(names, l[1])
			}
		}
		slices.Sort(names)
		labels[name] = strings.Join(names, " ")
	}
	var list []string
	for name, kind := range kinds {
		list = append(list, strings.TrimSpace(name+" "+kind+" "+labels[name]))
	}
	slices.Sort(list)
	return list
}

// TestReady: the status, and the words for people, the worst first.
func TestReady(t *testing.T) {
	s := newSite(t, web.Sources{})
	for _, test := range []struct {
		checks []web.Check
		status int
		want   string
	}{
		{
			[]web.Check{{"relay", web.OK, "answers"}, {"service", web.OK, "taking mail"}},
			200, "ready\nok        relay: answers\nok        service: taking mail\n",
		},
		{
			[]web.Check{{"relay", web.OK, "answers"}, {"probing", web.Degraded, "off"}},
			200, "ready, degraded\ndegraded  probing: off\nok        relay: answers\n",
		},
		{
			[]web.Check{{"probing", web.Degraded, "off"}, {"relay", web.Failed, "down"}},
			503, "not ready\nfailed    relay: down\ndegraded  probing: off\n",
		},
	} {
		s.checks = test.checks
		if status, body := s.request(http.MethodGet, "/readyz"); status != test.status || body != test.want {
			t.Errorf("%+v: %d\n%s", test.checks, status, body)
		}
		want := "rcptgate_ready 1"
		if test.status != http.StatusOK {
			want = "rcptgate_ready 0"
		}
		if _, body := s.request(http.MethodGet, "/metrics"); !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("%+v: not %s", test.checks, want)
		}
	}
}

// TestRequests: what is not an endpoint, and a method that changes something.
func TestRequests(t *testing.T) {
	s := newSite(t, web.Sources{})
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/healthz", 200},
		{http.MethodHead, "/healthz", 200},
		{http.MethodPost, "/healthz", 405},
		{http.MethodDelete, "/metrics", 405},
		{http.MethodGet, "/", 404},
		{http.MethodGet, "/healthz/x", 404},
		{http.MethodGet, "/../etc/passwd", 404},
	} {
		if status, _ := s.request(test.method, test.path); status != test.status {
			t.Errorf("%s %s: status %d, want %d", test.method, test.path, status, test.status)
		}
	}
}

// TestNothingThere: what the gate does not have has no metrics, where a 0 would be a false alarm.
func TestNothingThere(t *testing.T) {
	s := newSite(t, web.Sources{
		Own:      func() (web.Own, bool) { return web.Own{}, false },
		RelayLog: func() (web.RelayLog, bool) { return web.RelayLog{}, false },
		Store:    func() (web.Store, bool) { return web.Store{}, false },
	})
	_, body := s.request(http.MethodGet, "/metrics")
	for _, name := range []string{"own_address", "relay_log", "cache"} {
		if strings.Contains(body, "rcptgate_"+name) {
			t.Errorf("there is a metric %s:\n%s", name, body)
		}
	}
}
