package journal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// manager is a list manager that takes bounces as listmonk does.
type manager struct {
	mu      sync.Mutex
	bounces []map[string]any
	answers []int // to the first requests; then 200
	raw     []string
	came    chan struct{}
}

func newManager(answers ...int) *manager {
	return &manager{answers: answers, came: make(chan struct{}, 1000)}
}

// ServeHTTP refuses what listmonk refuses.
func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() { m.came <- struct{}{} }()
	m.mu.Lock()
	defer m.mu.Unlock()
	if user, password, ok := r.BasicAuth(); !ok || user != "gate" || password != "s3cret" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/webhooks/bounce" ||
		r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "not a bounce", http.StatusBadRequest)
		return
	}
	if len(m.answers) > 0 {
		code := m.answers[0]
		m.answers = m.answers[1:]
		if code != http.StatusOK {
			http.Error(w, "an answer with a \x1b in it", code)
			return
		}
	}
	var bounce map[string]any
	if err := json.Unmarshal(body, &bounce); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.bounces, m.raw = append(m.bounces, bounce), append(m.raw, string(body))
	_, _ = io.WriteString(w, `{"data": true}`)
}

func (m *manager) wait(t *testing.T, requests int) {
	t.Helper()
	for range requests {
		select {
		case <-m.came:
		case <-time.After(time.Minute):
			t.Fatal("a request is missing")
		}
	}
}

func (m *manager) taken() []map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bounces
}

func hook(url string) Webhook {
	return Webhook{URL: url + "/webhooks/bounce", User: "gate", Password: "s3cret"}
}

// TestWebhook: each refusal is told once, only proof is hard, and what was accepted or only would
// have been refused is not told. Addresses are whole, whatever the journal hides.
func TestWebhook(t *testing.T) {
	m := newManager()
	server := httptest.NewTLSServer(m)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	cfg := hook(server.URL)
	cfg.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	cfg.Deferred = true
	j := open(t, Config{Redact: RedactLocal, Webhook: cfg})
	tx := transaction(t)

	byRule := refused(t, "rule@example.net", "RULE")
	byRule.Result = nil
	doubt := refused(t, "doubt@example.net", "DOUBT")
	doubt.Result = &verify.Result{Verdict: verify.Unknown, Reason: verify.BlockedIP}
	later := refused(t, "later@example.net", "LATER")
	later.Action, later.Reply = policy.Defer, esmtp.NewReply(450, esmtp.EnhancedCode{4, 2, 0}, "later")
	relayed := accepted(t, "relayed@example.net")
	j.record(tx, refused(t, `"quo\"ted"@example.net`, "PROOF"))
	j.record(tx, byRule)
	j.record(tx, doubt)
	j.record(tx, later)
	j.record(tx, accepted(t, "anna@example.com"))
	j.record(tx, shadowed(t, "shadow@example.net", "SHADOW"))
	j.Decision(tx, relayed, esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no"), true)
	j.Message(tx, &Message{Outcome: "refused", Reply: byRule.Reply})
	j.Decision(tx, &policy.Decision{}, reply452, false)
	j.gather()
	m.wait(t, 5)
	shut(t, j)

	got := make(map[string]string)
	for _, b := range m.taken() {
		email, _ := b["email"].(string)
		kind, _ := b["type"].(string)
		got[email] += kind
		meta, ok := b["meta"].(map[string]any)
		if !ok || b["source"] != "rcptgate" || meta["sender"] != "news@shop.example.org" {
			t.Errorf("%v", b)
		}
		if at, err := time.Parse(time.RFC3339, fmt.Sprint(b["created_at"])); err != nil ||
			time.Since(at) > time.Hour {
			t.Errorf("created_at %v", b["created_at"])
		}
		if email == `"quo\"ted"@example.net` && (meta["ref"] != "PROOF" || meta["mx"] != "mx.example.net") {
			t.Errorf("meta %v", meta)
		}
	}
	want := map[string]string{
		`"quo\"ted"@example.net`: "hard", "rule@example.net": "soft", "doubt@example.net": "soft",
		"later@example.net": "soft", "relayed@example.net": "soft",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("told %v\nwant %v", got, want)
	}
	if s := j.Stats().Webhook; s.Sent != 5 || s.GivenUp+s.Lost+s.Retried != 0 {
		t.Errorf("%+v", s)
	}
	for _, e := range j.Search(Filter{Ref: "PROOF"}) {
		if e.Recipient != `q…@example.net` {
			t.Errorf("in the journal: %s", e.Recipient)
		}
	}
}

// TestWebhookDeferred: without Deferred only refusals for good are told.
func TestWebhookDeferred(t *testing.T) {
	w := &webhook{queue: make(chan bounce, 1)}
	it := itemOf(transaction(t), &policy.Decision{
		Recipient: address(t, "bob@example.net"), Action: policy.Defer,
	}, reply452, false)
	if w.offer(it); len(w.queue) != 0 {
		t.Error("a recipient refused for now is told")
	}
	it.reply = esmtp.Reply{Code: 550}
	if w.offer(it); len(w.queue) != 1 {
		t.Error("a refusal for good is not told")
	}
	if w.offer(it); w.lost.Load() != 1 {
		t.Error("a full queue does not count")
	}
}

// bubble is an HTTP transport that answers within a synctest bubble, without sockets.
type bubble struct {
	mu      sync.Mutex
	answers []int // the last one for ever
	tries   []time.Time
	header  http.Header
}

func (b *bubble) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	code := b.answers[min(len(b.tries), len(b.answers)-1)]
	b.tries = append(b.tries, time.Now())
	if code == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{
		StatusCode: code, Header: b.header, Request: r, Body: io.NopCloser(strings.NewReader("x")),
	}, nil
}

// run has one bounce delivered and returns the log.
func (b *bubble) run(t *testing.T, cfg Webhook) (log string, s WebhookStats) {
	t.Helper()
	var out strings.Builder
	w := startWebhook(cfg, slog.New(slog.NewTextHandler(&out, nil)))
	w.client.Transport = b
	it := itemOf(transaction(t), refused(t, "bob@example.net", "KX2M7QRT"), esmtp.Reply{Code: 550}, false)
	w.offer(it)
	time.Sleep(time.Hour)
	synctest.Wait()
	w.finish()
	if err := w.wait(t.Context()); err != nil {
		t.Error(err)
	}
	return out.String(), w.stats()
}

// TestWebhookRetries: what may get better is tried again, later each time and not for ever.
func TestWebhookRetries(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []int
		tries   int
		sent    uint64
		log     string
	}{
		{"at once", []int{200}, 1, 1, ""},
		{"no content", []int{204}, 1, 1, ""},
		{"down for a while", []int{0, 0, 503, 429, 200}, 5, 1, ""},
		{"down", []int{0}, 8, 0, `attempts=8 error="connection refused"`},
		{"broken", []int{500}, 8, 0, "it answered 500 Internal Server Error"},
		{"wrong password", []int{401}, 8, 0, "check user and password"},
		{"not there", []int{404}, 8, 0, "check the URL"},
		{"not an address for it", []int{400}, 1, 0, "it answered 400 Bad Request"},
		{"moved", []int{301}, 1, 0, "correct the URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bubble{answers: c.answers, header: http.Header{
					"Location": {"https://elsewhere.example.net/"},
				}}
				log, s := b.run(t, hook("https://example.net"))
				if len(b.tries) != c.tries || s.Sent != c.sent || s.Waiting != 0 ||
					s.GivenUp != 1-c.sent || s.Retried != uint64(c.tries-1) {
					t.Errorf("%d tries, %+v", len(b.tries), s)
				}
				if !strings.Contains(log, c.log) || (c.log == "") != (log == "") {
					t.Errorf("the log says %s", log)
				}
				if strings.Contains(log, "s3cret") || strings.Contains(log, "bob@") {
					t.Errorf("the log tells too much: %s", log)
				}
				for i := range b.tries[1:] {
					pause, least := b.tries[i+1].Sub(b.tries[i]), min(firstBackOff<<i, longestBackOff)/2
					if pause < least || pause > 2*least+time.Millisecond {
						t.Errorf("pause %d is %v, want %v to %v", i, pause, least, 2*least)
					}
				}
			})
		})
	}
}

// TestWebhookClose: Close sends what waits once, and does not wait longer than it may.
func TestWebhookClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{answers: []int{503}}
		w := startWebhook(hook("https://example.net"), slog.New(slog.DiscardHandler))
		w.client.Transport = b
		it := itemOf(transaction(t), refused(t, "bob@example.net", "REF"), esmtp.Reply{Code: 550}, false)
		for range 20 {
			w.offer(it)
		}
		time.Sleep(100 * time.Millisecond) // some have failed, and all wait
		w.finish()
		w.offer(it)
		start := time.Now()
		if err := w.wait(t.Context()); err != nil || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if s := w.stats(); s.GivenUp != 20 || s.Retried < 1 || s.Retried > webhookWorkers ||
			len(b.tries) != 20+int(s.Retried) {
			t.Errorf("%d tries, %+v", len(b.tries), s)
		}
	})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}))
	defer hangs.Close()
	w := startWebhook(hook(hangs.URL), slog.New(slog.DiscardHandler))
	w.offer(itemOf(transaction(t), refused(t, "bob@example.net", "REF"), esmtp.Reply{Code: 550}, false))
	w.finish()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a server that hangs: %v", err)
	}
}

// TestWebhookRedirects: the password goes to its own host only, and a POST stays one.
func TestWebhookRedirects(t *testing.T) {
	other := newManager()
	elsewhere := httptest.NewServer(other)
	defer elsewhere.Close()
	m := newManager()
	mux := http.NewServeMux()
	mux.Handle("/webhooks/bounce", m)
	for path, code := range map[string]int{
		"/308/": http.StatusPermanentRedirect, "/302/": http.StatusFound,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/webhooks/bounce", code)
		})
	}
	mux.HandleFunc("/away/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/webhooks/bounce", http.StatusPermanentRedirect)
	})
	mux.HandleFunc("/round/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/round/", http.StatusPermanentRedirect)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, sent := range map[string]uint64{"/308/": 1, "/302/": 0, "/away/": 0, "/round/": 0} {
		cfg := hook(server.URL)
		cfg.URL, cfg.Attempts = server.URL+path, 1
		j := open(t, Config{Webhook: cfg})
		j.record(transaction(t), refused(t, "bob@example.net", "REF"))
		shut(t, j)
		if s := j.Stats().Webhook; s.Sent != sent || s.Sent+s.GivenUp != 1 {
			t.Errorf("%s: %+v", path, s)
		}
	}
	if len(other.taken()) != 0 || len(other.came) != 0 {
		t.Error("another host was asked")
	}
}
