package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
)

// fetch waits for the verdict of a question that took longer.
func (g *apiGate) fetch(p web.Pending) web.Verdict {
	g.t.Helper()
	for {
		status, body := g.send("GET", "/v1/verify/"+p.ID, "")
		var v web.Verdict
		if status != http.StatusAccepted {
			if err := json.Unmarshal(body, &v); err != nil || status != http.StatusOK {
				g.t.Fatalf("%d %s", status, body)
			}
			return v
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-g.t.Context().Done():
			g.t.Fatal("no verdict")
		}
	}
}

// TestAPIVerify: verdicts over HTTP are those of the command, also when they take longer.
func TestAPIVerify(t *testing.T) {
	g := startAPIGate(t, "")
	var v web.Verdict
	for _, test := range []struct{ address, verdict, reason string }{
		{"anna@example.com", "deliverable", "mailbox_exists"},
		{"nobody@example.com", "undeliverable", "mailbox_unknown"},
		{"x@null.example.com", "undeliverable", "null_mx"},
		{"x@internal.example.net", "unknown", "internal_domain"},
	} {
		g.ask("POST", "/v1/verify", `{"address": "`+test.address+`", "sender": "news@example.org"}`,
			http.StatusOK, &v)
		if v.Verdict != test.verdict || v.Reason != test.reason || v.Address != test.address || v.Cached {
			t.Errorf("%+v", v)
		}
	}
	g.ask("POST", "/v1/verify", `{"address": "nobody@example.com", "wait": "0s"}`, http.StatusOK, &v)
	if !v.Cached || !strings.HasPrefix(v.Reply, "550 5.1.1 ") || strings.Contains(v.Reply, "nobody@") {
		t.Errorf("%+v", v)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"verify", "--json", "--config", g.path, "nobody@example.com"}, strings.NewReader(""),
		&out, &errs); code != exitFailed {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	var command web.Verdict
	if err := json.Unmarshal(out.Bytes(), &command); err != nil {
		t.Fatal(err)
	}
	command.Cached, command.ElapsedMS, v.ElapsedMS = true, 0, 0
	command.Reply = v.Reply // from memory it has no address
	if command != v {
		t.Errorf("%+v\n%+v", command, v)
	}

	var p web.Pending
	g.ask("POST", "/v1/verify", `{"address": "anna@silent.example.com", "wait": "100ms"}`, http.StatusAccepted, &p)
	if p.ID == "" || p.RetryAfter < 1 {
		t.Errorf("%+v", p)
	}
	if v := g.fetch(p); v.Verdict != "unknown" || v.Address != "anna@silent.example.com" || v.Reason != "timeout" {
		t.Errorf("%+v", v)
	}
	if status, body := g.send("GET", "/v1/verify/"+strings.Repeat("A", 26), ""); status != http.StatusNotFound {
		t.Errorf("%d %s", status, body)
	}
	g.stopped()
	for _, line := range g.log {
		if text := fmt.Sprint(line); strings.Contains(text, "nobody@example.com") {
			t.Errorf("an address is in the log: %s", text)
		}
	}
}

// TestAPIVerifyBounds: the API has so many places, and who names too many that do not exist is not
// answered any more: it is no way to find out who has a mailbox.
func TestAPIVerifyBounds(t *testing.T) {
	g := startAPIGate(t, "max_verifications = 1\n")
	var p web.Pending
	g.ask("POST", "/v1/verify", `{"address": "anna@silent.example.com", "wait": "0s"}`, http.StatusAccepted, &p)
	status, body := g.send("POST", "/v1/verify", `{"address": "anna@example.com"}`)
	if status != http.StatusServiceUnavailable || !bytes.Contains(body, []byte("http.max_verifications")) {
		t.Errorf("%d %s", status, body)
	}
	d := openDialogue(t, "tcp", g.smtp)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ") // mail has its own
	d.say("QUIT", "221")
	g.fetch(p)
	limited := 0
	for i := range 60 {
		var v web.Verdict
		g.ask("POST", "/v1/verify", fmt.Sprintf(`{"address": "name%d@example.com"}`, i), http.StatusOK, &v)
		if v.Verdict == "unknown" && v.Reason == "local_limit" {
			limited++
		}
	}
	if limited < 30 {
		t.Errorf("only %d of 60 names were not asked for", limited)
	}
	g.stopped()
}

// TestAPIExplain: what would be decided, without being counted.
func TestAPIExplain(t *testing.T) {
	g := startAPIGate(t, "")
	var e web.Explained
	g.ask("POST", "/v1/explain", `{"address": "nobody@example.com", "sender": "news@example.org",
		"client": "192.0.2.7", "login": "alice"}`, http.StatusOK, &e)
	if e.Action != "reject" || !strings.HasPrefix(e.Reply, "550 5.1.1 ") || e.Verdict == nil ||
		e.Verdict.Verdict != "undeliverable" || len(e.Steps) == 0 || e.Rule == "" ||
		!strings.Contains(e.Text, "Verifier\n") {
		t.Errorf("%+v", e)
	}
	var h web.HistoryAnswer
	g.ask("GET", "/v1/history", "", http.StatusOK, &h)
	for _, point := range h.Points {
		if point.Rejected > 0 {
			t.Errorf("it was counted: %+v", point)
		}
	}
	var c web.Classified
	g.ask("POST", "/v1/classify", `{"replies": [{"text": "550 5.1.1 User unknown", "stage": "rcpt"},
		{"code": 450, "enhanced": "4.2.0", "text": "Greylisted, try again in 300 seconds", "stage": "rcpt"}]}`,
		http.StatusOK, &c)
	if len(c.Replies) != 2 || c.Replies[0].Label != "mailbox_unknown" || !c.Replies[0].Proof ||
		c.Replies[1].Label != "greylisted" || c.Replies[1].RetryAfter != 300 {
		t.Errorf("%+v", c)
	}
	status, body := g.send("POST", "/v1/classify", `{"replies": [{"text": "hello"}]}`)
	if status != http.StatusBadRequest || !bytes.Contains(body, []byte("replies.0: no reply code")) {
		t.Errorf("%d %s", status, body)
	}
	g.stopped()
}

// TestAPIDrain ends the gate, and only then.
func TestAPIDrain(t *testing.T) {
	g := startAPIGate(t, "")
	var done web.Draining
	g.ask("POST", "/v1/drain", `{"timeout": "2s"}`, http.StatusAccepted, &done)
	if line := g.logged("stopping"); !done.Draining || line["drain_limit_s"] != 2.0 {
		t.Errorf("%+v, %v", done, line)
	}
	if err := g.end(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestAPIRate: each token has its requests a minute.
func TestAPIRate(t *testing.T) {
	g := startAPIGate(t, "rate = 3\n")
	for range 3 {
		g.ask("GET", "/v1/status", "", http.StatusOK, new(web.StatusAnswer))
	}
	status, body := g.send("GET", "/v1/status", "")
	if status != http.StatusTooManyRequests || !bytes.Contains(body, []byte("http.rate")) {
		t.Errorf("%d %s", status, body)
	}
	g.command("cache stats", 0, `^memory`, ``) // the control socket has no rate
	g.stopped()
}
