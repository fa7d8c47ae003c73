package web_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// historyOf asks the API within this process, as in a bubble nothing else can.
func historyOf(t *testing.T, h *web.History, request string) web.HistoryAnswer {
	t.Helper()
	api := web.NewAPI(func() web.Parts { return web.Parts{History: h} }, slog.New(slog.DiscardHandler))
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if request != "" {
		method, body = http.MethodPost, strings.NewReader(request)
	}
	answer := httptest.NewRecorder()
	api.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, "/v1/history", body))
	var got web.HistoryAnswer
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", answer.Body, err)
	}
	return got
}

// decide counts a recipient that took so long to decide.
func decide(m *web.Metrics, action policy.Action, r *verify.Result, took time.Duration) {
	m.PolicydRecipient(&policy.Decision{Action: action, Rule: "x", Result: r, Elapsed: took}, "dunno")
}

// TestHistory: every minute has what was counted in it, and the last one is that which goes on.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := web.NewMetrics(web.Build{}, web.Sources{})
		if err != nil {
			t.Fatal(err)
		}
		known := &verify.Result{Verdict: verify.Deliverable, Cached: true}
		asked := &verify.Result{Verdict: verify.Undeliverable, Stage: reply.StageRcpt, Provider: "google"}
		decide(m, policy.Accept, known, time.Millisecond) // before it begins
		begun := time.Now().UTC()
		h := web.NewHistory(m)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); h.Run(ctx) }()

		time.Sleep(30 * time.Second)
		for range 99 {
			decide(m, policy.Accept, known, 30*time.Microsecond)
		}
		decide(m, policy.Reject, asked, 2*time.Second)
		m.Message("passed", 1, time.Second, 0)
		m.Message("relay_failed", 1, time.Second, 0)
		m.Asked(verify.Asked{Provider: "google", Result: "mailbox_unknown"})
		m.Asked(verify.Asked{Provider: "google", Result: "blocked_ip"})
		m.Asked(verify.Asked{Provider: "google", Result: "local_limit"})
		time.Sleep(time.Minute)
		decide(m, policy.Defer, nil, time.Millisecond)
		synctest.Wait()

		got := historyOf(t, h, "")
		if len(got.Points) != 2 || got.Step != 60 || !got.From.Equal(begun) {
			t.Fatalf("%+v", got)
		}
		first, open := got.Points[0], got.Points[1]
		if first.RcptP50 < 0.01 || first.RcptP50 > 0.04 || first.RcptP95 < 0.01 || first.RcptP95 > 0.04 {
			t.Errorf("half took %v ms, nearly all %v ms", first.RcptP50, first.RcptP95)
		}
		first.RcptP50, first.RcptP95, open.RcptP50, open.RcptP95 = 0, 0, 0, 0
		want := web.HistoryPoint{
			Time: begun, Accepted: 99, Rejected: 1, Messages: 2, Probes: 2, CacheHits: 99, CacheMisses: 1,
			Blocked: 1, RelayFailures: 1,
		}
		if diff := cmp.Diff(want, first); diff != "" {
			t.Error(diff)
		}
		want = web.HistoryPoint{Time: begun.Add(time.Minute), Open: true, Deferred: 1}
		if diff := cmp.Diff(want, open); diff != "" {
			t.Error(diff)
		}

		time.Sleep(25 * time.Hour)
		synctest.Wait()
		got = historyOf(t, h, "")
		if len(got.Points) != 1441 || got.Points[0].Time.Sub(begun) < time.Hour {
			t.Errorf("%d points from %v", len(got.Points), got.Points[0].Time)
		}
		for i := range got.Points[1:] {
			if step := got.Points[i+1].Time.Sub(got.Points[i].Time); step != time.Minute {
				t.Fatalf("%v between points %d and the next", step, i)
			}
		}
		last := historyOf(t, h, `{"points": 3}`)
		if diff := cmp.Diff(got.Points[1438:], last.Points); diff != "" {
			t.Error(diff)
		}
		cancel()
		<-ended
	})
}

func TestProviders(t *testing.T) {
	o := newOffice(t)
	for range 3 {
		decide(o.parts.Metrics, policy.Reject, &verify.Result{Verdict: verify.Undeliverable, Provider: "yahoo"}, 0)
	}
	decide(o.parts.Metrics, policy.Accept, &verify.Result{Verdict: verify.Risky}, 0)
	decide(o.parts.Metrics, policy.Accept, &verify.Result{Verdict: verify.Unknown}, 0)
	o.parts.Metrics.Asked(verify.Asked{Result: "blocked_sender"})
	o.parts.Metrics.Asked(verify.Asked{Provider: "google", Result: "declined"})
	var got web.Providers
	o.ask("GET", "/v1/providers", "", &got)
	want := []web.Provider{
		{Name: "other", Probes: 1, Deliverable: 1, Unknown: 1, Blocked: 1},
		{Name: "yahoo", Undeliverable: 3},
		{Name: "google"},
	}
	for i := range got.Providers {
		p := &got.Providers[i]
		p.Title, p.Trust, p.State, p.Limit = "", "", "", ""
	}
	if diff := cmp.Diff(want, got.Providers); diff != "" {
		t.Error(diff)
	}
}

func TestConfiguration(t *testing.T) {
	o := newOffice(t)
	var got web.Configuration
	o.ask("GET", "/v1/config", "", &got)
	if got.File != "gate.toml" || got.TOML != "[proxy]\n" || got.Changed == nil || got.Loaded.IsZero() {
		t.Errorf("%+v", got)
	}
}
