package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// series is what a metric should say, by the name and labels of its line.
type series map[string]int

// add counts a decision one by one, as docs/metrics.md says. took is in units of 10 µs.
func (s series) add(d *policy.Decision, by, code string, took int) {
	if by != "" {
		s[fmt.Sprintf("recipients_total{by=%q,code=%q}", by, code)]++
	}
	s[fmt.Sprintf("decisions_total{action=%q,rule=%q}", d.Action, d.Rule)]++
	if d.Shadow != policy.Continue {
		s[fmt.Sprintf("shadowed_recipients_total{action=%q}", d.Shadow)]++
	}
	source := "rules"
	if r := d.Result; r == nil {
		s[`verdicts_total{reason="not_asked",verdict="none"}`]++
	} else {
		source = "asked"
		if r.Cached {
			source = "memory"
		}
		s[fmt.Sprintf("verdicts_total{reason=%q,verdict=%q}", r.Reason, r.Verdict)]++
		provider := r.Provider
		if provider == "" {
			provider = "other"
		}
		s[fmt.Sprintf("provider_verdicts_total{provider=%q,verdict=%q}", provider, r.Verdict)]++
	}
	s[fmt.Sprintf("decision_duration_seconds_count{source=%q}", source)]++
	for bound, name := range map[int]string{1: "1e-05", 4: "4e-05", 16: "0.00016"} {
		if took <= bound {
			s[fmt.Sprintf("decision_duration_seconds_bucket{source=%q,le=%q}", source, name)]++
		}
	}
}

// TestAlike: what many sessions count at the same time, while somebody reads, is what each decision
// counted alone comes to, also when there are more kinds of decisions than places for them.
func TestAlike(t *testing.T) {
	const workers, each = 4, 6000
	s := newSite(t, web.Sources{})
	want := make(series)
	work := func(worker int, count func(d *policy.Decision, by, code string, took int)) {
		for i := range each {
			n := i*workers + worker
			took := n % 7 * (n % 2) * 3
			d := &policy.Decision{
				Action: policy.Accept, Rule: fmt.Sprint("rule ", n%37),
				Elapsed: time.Duration(took) * 10 * time.Microsecond,
			}
			by, code := "relay", "2xx"
			switch n % 5 {
			case 1:
				d.Action, by, code = policy.Reject, "gate", "5xx"
			case 2:
				d.Shadow = policy.Defer
			case 3:
				by, code = "", ""
			}
			if n%3 > 0 {
				d.Result = &verify.Result{
					Verdict: verify.Deliverable, Reason: verify.MailboxExists, Cached: n%2 == 0,
					Stage: "rcpt", Provider: fmt.Sprint("site", n%41),
				}
				if n%41 == 0 {
					d.Result.Provider = ""
				}
			}
			count(d, by, code, took)
		}
	}
	var all sync.WaitGroup
	for worker := range workers {
		work(worker, want.add)
		all.Go(func() {
			work(worker, func(d *policy.Decision, by, _ string, _ int) {
				switch by {
				case "":
					s.metrics.PolicydRecipient(d, "dunno")
				case "gate":
					s.metrics.Recipient(d, false, esmtp.Reply{Code: 550})
				default:
					s.metrics.Recipient(d, true, esmtp.Reply{Code: 250})
				}
			})
		})
	}
	for range 20 {
		s.request(http.MethodGet, "/metrics")
	}
	all.Wait()
	for range 2 { // reading counts nothing
		_, body := s.request(http.MethodGet, "/metrics")
		for name, n := range want {
			if line := fmt.Sprintf("\nrcptgate_%s %d\n", name, n); !strings.Contains(body, line) {
				t.Errorf("no line %s", line)
			}
		}
	}
	t.Logf("%d series", len(want))
}
