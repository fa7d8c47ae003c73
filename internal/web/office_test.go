package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

const (
	readToken  = "r-0123456789abcdef0123456789abcdef"
	writeToken = "w-0123456789abcdef0123456789abcdef"
	bothToken  = "b-0123456789abcdef0123456789abcdef"
	allToken   = "a-0123456789abcdef0123456789abcdef"
)

// office is an API over real parts, on a control socket and behind tokens.
type office struct {
	t         testing.TB
	parts     web.Parts
	forgotten []string
	drained   []time.Duration
	contract  *contract
	anything  bool // is sent: only answers are held to the description
	control   *http.Client
	log       *lockedBuffer

	web, socket *web.Server
	address     string // of web
	over        string // the token to use on it; "": the control socket
	end         func()
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newOffice(tb testing.TB) *office {
	tb.Helper()
	dir, err := durable.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	log := new(lockedBuffer)
	logger := slog.New(slog.NewTextHandler(log, nil))
	o := &office{t: tb, log: log}
	if o.parts.Register, err = register.Open(dir, register.Config{MaxEntries: 100_000}); err != nil {
		tb.Fatal(err)
	}
	cfg := senders.Config{Hygiene: senders.Hygiene{Mode: "enforce"}}
	if o.parts.Senders, err = senders.New(cfg, dir); err != nil {
		tb.Fatal(err)
	}
	o.parts.Journal, err = journal.Open(journal.Config{Path: dir.Path("journal.jsonl")}, logger)
	if err != nil {
		tb.Fatal(err)
	}
	forget := func(kind string) func(string) error {
		return func(name string) error {
			o.forgotten = append(o.forgotten, kind+" "+name)
			return nil
		}
	}
	o.parts.Memory = web.Memory{
		Address: func(a esmtp.Address) error { return forget("address")(a.String()) },
		Domain:  forget("domain"), Provider: forget("provider"),
		Look:       remembered,
		LookDomain: func(context.Context, string) verify.RememberedDomain { return rememberedDomain() },
		Counts: func() web.CacheCounts {
			return web.CacheCounts{
				Memory: web.CacheMemory{Deliverable: 1, Limit: 1 << 20}, Hits: web.CacheHits{File: 1},
				File: &web.CacheFile{Path: "verdicts.db", OK: true, Entries: map[string]int64{"verdicts": 1}},
			}
		},
	}
	o.parts.Status = func() web.Status {
		return web.Status{
			Version: "v1", Config: "gate.toml", Mode: "active", Policy: "enforce", Preset: "cautious",
			Checks: []web.Check{{Part: "relay", State: web.Degraded, Detail: "slow"}}, Connections: 3,
			Relay: []web.RelayState{{Address: "127.0.0.1:26", State: "down", Sessions: 2, Error: "refused"}},
			Own: web.OwnState{
				Addresses: []string{"192.0.2.1"}, Findings: []web.OwnFinding{{
					Kind: "dnsbl", Severity: "warning", Subject: "192.0.2.1", What: "it is listed", Fix: "ask why",
				}},
			},
			Files: web.FileLimit{Open: 9, Limit: 1024},
		}
	}
	o.parts.Verifier = verify.New(verify.Config{Passive: true}, nil, nil)
	engine, err := policy.New(policy.Config{}, o.parts.Verifier, logger)
	if err != nil {
		tb.Fatal(err)
	}
	o.parts.Explain = func(ctx context.Context, tx *policy.Transaction, rcpt esmtp.Rcpt) (policy.Decision, string) {
		return engine.Explain(ctx, tx, rcpt), "because\n"
	}
	o.parts.Classify = func(r web.MailReply) (read web.ReadReply, what, fix string) {
		if r.Text == "" {
			return read, "no reply code", "write one"
		}
		return web.ReadReply{Label: "greylisted", Subject: "server", Confidence: 0.9, Rule: "x", RetryAfter: 60}, "", ""
	}
	o.parts.Drain = func(limit time.Duration) { o.drained = append(o.drained, limit) }
	if o.parts.Metrics, err = web.NewMetrics(web.Build{}, web.Sources{}); err != nil {
		tb.Fatal(err)
	}
	o.parts.History = web.NewHistory(o.parts.Metrics)
	o.parts.Providers = func() []web.Provider {
		return []web.Provider{
			{Name: "google", Title: "Google", Trust: "good", State: web.ProviderOK, Limit: "2"},
			{Name: "other", Title: "others", Trust: "so so", State: web.ProviderOK, Limit: "2"},
			{Name: "yahoo", Title: "Yahoo", Trust: "none", State: web.ProviderOK, Limit: "1"},
		}
	}
	o.parts.Config = func() web.Configuration {
		return web.Configuration{File: "gate.toml", Loaded: time.Now(), TOML: "[proxy]\n"}
	}
	o.serve(logger)
	tb.Cleanup(func() {
		o.stop()
		ctx := context.WithoutCancel(tb.Context())
		for _, err := range []error{
			o.parts.Verifier.Close(ctx), o.parts.Register.Close(), o.parts.Senders.Close(), o.parts.Journal.Close(ctx), dir.Close(),
		} {
			if err != nil {
				tb.Error(err)
			}
		}
	})
	return o
}

func (o *office) serve(log *slog.Logger) {
	o.t.Helper()
	api := web.NewAPI(func() web.Parts { return o.parts }, log)
	o.web = web.New(o.parts.Metrics, func() []web.Check { return nil }, log)
	o.web.Mount(api)
	o.socket = web.NewControl(api, log)
	path := filepath.Join(o.t.TempDir(), "control.sock")
	listen := func(network, address string) net.Listener {
		l, err := new(net.ListenConfig).Listen(o.t.Context(), network, address)
		if err != nil {
			o.t.Fatal(err)
		}
		return l
	}
	tcp, unix := listen("tcp", "127.0.0.1:0"), listen("unix", path)
	o.address = tcp.Addr().String()
	o.control = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	ended := make(chan error, 2)
	go func() { ended <- o.web.Serve(tcp) }()
	go func() { ended <- o.socket.Serve(unix) }()
	o.end = func() {
		ctx := context.WithoutCancel(o.t.Context())
		if err := errors.Join(o.web.Shutdown(ctx), o.socket.Shutdown(ctx), <-ended, <-ended); err != nil {
			o.t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}
}

func (o *office) stop() {
	if o.end != nil {
		o.end()
		o.end = nil
	}
}

func (o *office) useTokens() {
	o.t.Helper()
	path := filepath.Join(o.t.TempDir(), "tokens")
	text := "reader read " + readToken + "\nwriter write " + writeToken + "\nboth read,write " + bothToken + "\n" +
		"all read,write,verify,admin " + allToken + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	tokens, err := web.OpenTokens(path, slog.New(slog.DiscardHandler))
	if err != nil {
		o.t.Fatal(err)
	}
	o.web.UseTokens(tokens)
}

// open sends a request and returns the answer, to be closed.
func (o *office) open(method, path, kind string, body io.Reader, header ...string) *http.Response {
	o.t.Helper()
	client, base := o.control, "http://control"
	if o.over != "" {
		client, base = http.DefaultClient, "http://"+o.address
	}
	r, err := http.NewRequestWithContext(o.t.Context(), method, base+path, body)
	if err != nil {
		o.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if o.over != "" && o.over != "none" {
		r.Header.Set("Authorization", "Bearer "+o.over)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	return answer
}

// answered is an answer that was read.
type answered struct {
	status int
	header http.Header
	text   string
}

// send sends a request and reads the answer.
func (o *office) send(method, path, kind string, body io.Reader, header ...string) answered {
	o.t.Helper()
	if o.contract == nil {
		o.contract = newContract(o.t)
	}
	request := ""
	if kind == "application/json" && body != nil {
		request, body = reading(o.t, body)
	}
	answer := o.open(method, path, kind, body, header...)
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	read := answered{answer.StatusCode, answer.Header, string(data)}
	if strings.HasPrefix(path, "/v1/") {
		if o.anything {
			request = ""
		}
		o.contract.check(o.t, method, path, request, read)
	}
	return read
}

// ask sends a JSON object and decodes the answer, which must be one of success, into into.
func (o *office) ask(method, path, request string, into any) {
	o.t.Helper()
	answer := o.send(method, path, "application/json", strings.NewReader(request))
	if answer.status != http.StatusOK || answer.header.Get("Cache-Control") != "no-store" {
		o.t.Fatalf("%s %s %s: %d %s", method, path, request, answer.status, answer.text)
	}
	dec := json.NewDecoder(strings.NewReader(answer.text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		o.t.Fatalf("%s: %v", answer.text, err)
	}
}

// refused expects a problem whose fields hold the wanted texts.
func (o *office) refused(answer answered, status int, field, detail, hint string) {
	o.t.Helper()
	var p web.Problem
	dec := json.NewDecoder(strings.NewReader(answer.text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		o.t.Fatalf("%s: %v", answer.text, err)
	}
	if answer.status != status || p.Status != status || p.Title != http.StatusText(status) ||
		answer.header.Get("Content-Type") != "application/problem+json" || p.Field != field ||
		!strings.Contains(p.Detail, detail) || !strings.Contains(p.Hint, hint) || p.Detail == "" {
		o.t.Errorf("got %d %s, want %d, field %q, detail %q, hint %q", answer.status, answer.text, status,
			field, detail, hint)
	}
}

func (o *office) post(path, request string) answered {
	o.t.Helper()
	return o.send("POST", path, "application/json", strings.NewReader(request))
}
