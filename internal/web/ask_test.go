package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
)

// TestAsking: what the API hands on and answers; package main's tests ask real mail servers.
func TestAsking(t *testing.T) {
	o := newOffice(t)
	var v web.Verdict
	o.ask("POST", "/v1/verify", `{"address": "anna@example.com", "sender": "news@example.org", "wait": "1s"}`, &v)
	if v.Verdict != "unknown" || v.Reason != "passive" {
		t.Errorf("%+v", v)
	}
	var e web.Explained
	o.ask("POST", "/v1/explain", `{"address": "anna@example.com", "sender": "<>", "client": "192.0.2.1"}`, &e)
	if e.Action != "accept" || e.Text != "because\n" || len(e.Steps) == 0 || e.Steps[0].Outcome == "" {
		t.Errorf("%+v", e)
	}
	answer := o.send("POST", "/v1/explain", "application/json", strings.NewReader(`{"address": "anna@example.com"}`),
		"Accept", "text/plain")
	if answer.text != "because\n" {
		t.Errorf("%+v", answer)
	}
	var c web.Classified
	o.ask("POST", "/v1/classify", `{"replies": [{"text": "450 later", "stage": "rcpt"}]}`, &c)
	if len(c.Replies) != 1 || c.Replies[0].Label != "greylisted" {
		t.Errorf("%+v", c)
	}
	for _, request := range []string{`{}`, `{"timeout": "30s"}`} {
		if answer := o.post("/v1/drain", request); answer.status != http.StatusAccepted {
			t.Errorf("%+v", answer)
		}
	}
	if len(o.drained) != 2 || o.drained[0] != 0 || o.drained[1] != 30*time.Second {
		t.Errorf("%v", o.drained)
	}
}

// TestAskingScopes: who may look or change may neither ask mail servers nor end the gate.
func TestAskingScopes(t *testing.T) {
	o := newOffice(t)
	o.useTokens()
	for _, token := range []string{readToken, writeToken} {
		o.over = token
		o.refused(o.post("/v1/verify", `{"address": "a@example.com"}`), 403, "", "no scope verify", "")
		o.refused(o.post("/v1/explain", `{"address": "a@example.com"}`), 403, "", "no scope verify", "")
		o.refused(o.post("/v1/drain", `{}`), 403, "", "no scope admin", "")
	}
	o.over = allToken
	if answer := o.post("/v1/verify", `{"address": "a@example.com"}`); answer.status != http.StatusOK {
		t.Errorf("%+v", answer)
	}
	if len(o.drained) > 0 {
		t.Error("it was ended")
	}
}

// TestRate: each token has its own; a change holds at once.
func TestRate(t *testing.T) {
	o := newOffice(t)
	o.useTokens()
	o.web.LimitRate(2)
	for _, token := range []string{readToken, bothToken} {
		o.over = token
		for i := range 3 {
			answer := o.send("GET", "/v1/status", "", nil)
			if i < 2 {
				if answer.status != http.StatusOK {
					t.Errorf("%+v", answer)
				}
				continue
			}
			o.refused(answer, 429, "", "asks too often", "2 requests a minute (http.rate)")
			if answer.header.Get("Retry-After") == "" {
				t.Error("nothing says for how long to wait")
			}
		}
	}
	o.web.LimitRate(0)
	if answer := o.send("GET", "/v1/status", "", nil); answer.status != http.StatusOK {
		t.Errorf("%+v", answer)
	}
}
