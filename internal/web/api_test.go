package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
)

func TestAccess(t *testing.T) {
	o := newOffice(t)
	o.over = "none"
	o.refused(o.send("GET", "/v1/status", "", nil), 403, "", "answers only on the control socket", "set http.tokens_file")
	o.over = readToken
	o.refused(o.send("GET", "/v1/status", "", nil), 403, "", "there are no tokens", "")

	o.useTokens()
	o.over = "none"
	answer := o.send("GET", "/v1/status", "", nil)
	if got := answer.header.Get("WWW-Authenticate"); got != `Bearer realm="rcptgate"` {
		t.Errorf("challenge %q", got)
	}
	o.refused(answer, 401, "", "the request has no token", "Authorization: Bearer")
	o.refused(o.send("GET", "/v1/status", "", nil, "Authorization", "Basic "+readToken), 401, "", "no token", "")
	o.refused(o.send("GET", "/v1/nothing", "", nil), 401, "", "no token", "")
	o.over = readToken
	o.refused(o.send("GET", "/v1/nothing", "", nil), 404, "", "no such endpoint", "GET /v1/status, GET")

	change, look := `{"address": "bob@example.com"}`, `{}`
	for _, test := range []struct {
		token, path, request string
		status               int
	}{
		{readToken, "/v1/suppressions/search", look, 200},
		{readToken, "/v1/suppressions", change, 403},
		{writeToken, "/v1/suppressions/search", look, 403},
		{writeToken, "/v1/suppressions", change, 200},
		{bothToken, "/v1/suppressions/search", look, 200},
		{bothToken, "/v1/suppressions", change, 200},
		{"", "/v1/suppressions/search", look, 200},
		{"", "/v1/suppressions", change, 200},
	} {
		o.over = test.token
		answer := o.post(test.path, test.request)
		if answer.status != test.status {
			t.Errorf("%q %s: %d", test.token, test.path, answer.status)
		}
		if test.status == 403 {
			if got := answer.header.Get("WWW-Authenticate"); !strings.Contains(got, `error="insufficient_scope"`) {
				t.Errorf("challenge %q", got)
			}
			o.refused(answer, 403, "", "has no scope", "http.tokens_file")
		}
	}
	log := o.log.String()
	for _, want := range []string{"by=writer", `by="control socket"`, "request=/v1/suppressions"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, "bob") {
		t.Errorf("the log has an address:\n%s", log)
	}
}

// TestWrongTokens: who tries too many is told to wait, and who has one gets in nevertheless.
func TestWrongTokens(t *testing.T) {
	o := newOffice(t)
	o.useTokens()
	for i := range 12 {
		o.over = strings.Repeat("x", 32)
		answer := o.send("GET", "/v1/status", "", nil)
		if i < 10 {
			if got := answer.header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
				t.Errorf("challenge %q", got)
			}
			o.refused(answer, 401, "", "the token is none", "correct it")
			continue
		}
		if answer.header.Get("Retry-After") == "" {
			t.Error("nothing says for how long to wait")
		}
		o.refused(answer, 429, "", "too many tokens", "wait ")
	}
	if n := strings.Count(o.log.String(), "a token that is none"); n != 10 {
		t.Errorf("%d lines in the log:\n%s", n, o.log)
	}
	o.over = readToken
	var s web.StatusAnswer
	o.ask("GET", "/v1/status", "", &s)
	o.web.UseTokens(nil)
	o.refused(o.send("GET", "/v1/status", "", nil), 403, "", "no tokens", "")
}

func TestProblems(t *testing.T) {
	o := newOffice(t)
	const path = "/v1/suppressions"
	jsonKind := "application/json"
	for _, test := range []struct {
		method, path, kind, body string
		status                   int
		field, detail, hint      string
	}{
		{"GET", path, "", "", 405, "", "does not take GET", "use POST"},
		{"DELETE", "/v1/overrides", "", "", 405, "", "does not take DELETE", "use GET, POST"},
		{"POST", "/v1/decisions/stream/x", jsonKind, "{}", 404, "", "no such endpoint", ""},
		{"POST", path + "?address=bob@example.com", jsonKind, "{}", 400, "", "has a query", "JSON body"},
		{"POST", path, "text/plain", "{}", 415, "", "not said to be JSON", "Content-Type: application/json"},
		{"POST", path, jsonKind, `{"mailbox": "a@example.com"}`, 400, "mailbox", "no such field", "correct its name"},
		{"POST", path, jsonKind, `{"address": 7}`, 400, "address", "cannot be a number", "write a string"},
		{"POST", path, jsonKind, `{"address": "a@example.com"} {}`, 400, "", "something follows", "one object"},
		{"POST", path, jsonKind, `{"address": "a@exa`, 400, "", "near octet", `{"address":`},
		{"POST", path, jsonKind, `[]`, 400, "", "near octet", `{"address":`},
		{"POST", path, jsonKind, `{"address": "` + strings.Repeat("a", 1<<20) + `"}`, 413, "", "larger than 1048576", "in parts"},
		{"POST", path, jsonKind, "{}" + strings.Repeat(" ", 1<<20), 413, "", "larger than 1048576", "in parts"},
		{"POST", path, jsonKind, ``, 400, "address", "", ""},
		{"POST", path, jsonKind, `{"address": "nobody"}`, 400, "address", "", ""},
		{"POST", path, jsonKind, `{"address": "a@example.com", "scope": "planet"}`, 400, "scope", "is no scope", "sender_domain:"},
		{"POST", path, jsonKind, `{"address": "a@example.com", "reason": "dislike"}`, 400, "reason", "", ""},
		{"POST", path, jsonKind, `{"address": "a@example.com", "reply": "550.5"}`, 400, "reply", "no codes", "550 5.1.1"},
		{"POST", path, jsonKind, `{"address": "a@example.com", "for": "-1h"}`, 400, "", "no time span", ""},
		{"POST", path, jsonKind, `{"address": "a@example.com", "for": "1h", "expires": "2099-01-01T00:00:00Z"}`, 400, "for", "in expires, too", ""},
		{"POST", path, jsonKind, `{"address": "a@example.com", "expires": "2001-01-01T00:00:00Z"}`, 400, "expires", "has passed", ""},
		{"POST", path + "/search", jsonKind, `{"limit": 1001}`, 400, "limit", "1 to 1000", "further requests"},
		{"POST", path + "/search", jsonKind, `{"offset": -1}`, 400, "offset", "negative", ""},
		{"POST", path + "/search", jsonKind, `{"reason": "x"}`, 400, "reason", "", ""},
		{"POST", path + "/remove", jsonKind, `{"where": {}}`, 400, "where", "chooses everything", "by reason"},
		{"POST", path + "/remove", jsonKind, `{"address": "a@b.example", "where": {"domain": "b.example"}}`, 400, "where", "beside it", "either"},
		{"POST", "/v1/overrides", jsonKind, `{"kind": "planet", "name": "x"}`, 400, "kind", "", ""},
		{"POST", "/v1/forget", jsonKind, `{"kind": "planet", "name": "x"}`, 400, "kind", "planet is none", "provider"},
		{"POST", "/v1/forget", jsonKind, `{"kind": "address", "name": "x"}`, 400, "name", "is no address", ""},
		{"POST", "/v1/forget", jsonKind, `{"kind": "domain", "name": "a b"}`, 400, "name", "is no domain", ""},
		{"POST", "/v1/forget", jsonKind, `{"kind": "provider"}`, 400, "name", "", "google"},
		{"POST", "/v1/forget", jsonKind, `{"kind": "provider", "name": "` + strings.Repeat("g", 65) + `"}`, 400, "name", "", "google"},
		{"POST", "/v1/decisions/search", jsonKind, `{"client": "x"}`, 400, "", "x", "correct the search"},
		{"POST", "/v1/decisions/search", jsonKind, `{"since": "1h", "from": "2026-01-01T00:00:00Z"}`, 400, "since", "in from, too", ""},
		{"POST", "/v1/decisions/stream", jsonKind, `{"action": "x"}`, 400, "", "unknown action", ""},
		{"GET", "/v1/decisions/NOSUCH77", "", "", 404, "", "no decision has the reference NOSUCH77", "policy.journal.path"},
		{"POST", "/v1/history", jsonKind, `{"points": -1}`, 400, "points", "negative", "number of minutes"},
		{"POST", "/v1/cache/lookup", jsonKind, `{}`, 400, "domain", "is no domain", "example.com"},
		{"POST", "/v1/cache/lookup", jsonKind, `{"address": "x"}`, 400, "address", "is no address", ""},
		{"POST", "/v1/cache/lookup", jsonKind, `{"address": "a@b.example", "domain": "b.example"}`, 400, "domain", "too", "out"},
		{"POST", "/v1/verify", jsonKind, `{}`, 400, "address", "is no address", "bob@"},
		{"POST", "/v1/verify", jsonKind, `{"address": "a@example.com", "sender": "x y"}`, 400, "sender", "is no address", ""},
		{"POST", "/v1/verify", jsonKind, `{"address": "a@example.com", "wait": "2m"}`, 400, "wait", "longer than 1m", "later"},
		{"GET", "/v1/verify/ABC", "", "", 404, "", "no such question", "10 minutes"},
		{"POST", "/v1/explain", jsonKind, `{"address": "a"}`, 400, "address", "is no address", ""},
		{"POST", "/v1/explain", jsonKind, `{"address": "a@example.com", "sender": "x y"}`, 400, "sender", "is no address", "<>"},
		{"POST", "/v1/explain", jsonKind, `{"address": "a@example.com", "client": "x"}`, 400, "client", "no IP address", ""},
		{"POST", "/v1/classify", jsonKind, `{"replies": [{"text": "x"}, {}]}`, 400, "replies.1", "no reply code", ""},
		{"POST", "/v1/classify", jsonKind, `{"replies": [` + strings.Repeat(`{"text": "x"},`, 1000) + `{"text": "x"}]}`, 400, "replies", "more than 1000", ""},
		{"POST", "/v1/drain", jsonKind, `{"timeout": "0s"}`, 400, "timeout", "1s to 1h", ""},
		{"POST", "/v1/report", jsonKind, `{"since": "soon"}`, 400, "", "no time span", ""},
		{"POST", "/v1/senders/search", jsonKind, `{"state": "bad"}`, 400, "state", "bad is none", "throttle"},
		{"POST", "/v1/senders/release", jsonKind, `{}`, 400, "key", "there is none", "login"},
		{"POST", path + "/import", jsonKind, `{}`, 415, "", "neither CSV nor a form", "text/csv"},
	} {
		answer := o.send(test.method, test.path, test.kind, strings.NewReader(test.body))
		o.refused(answer, test.status, test.field, test.detail, test.hint)
	}
}

// TestNoParts: a gate without a part says which, and what to do.
func TestNoParts(t *testing.T) {
	o := newOffice(t)
	whole := o.parts
	defer func() { o.parts = whole }()
	o.parts = web.Parts{}
	for path, want := range map[string]string{
		"GET /v1/status":               "gate that runs",
		"GET /v1/history":              "gate that runs",
		"POST /v1/history":             "gate that runs",
		"GET /v1/providers":            "gate that runs",
		"GET /v1/config":               "gate that runs",
		"GET /v1/cache":                "gate that runs",
		"POST /v1/verify":              "gate that runs",
		"POST /v1/explain":             "gate that runs",
		"POST /v1/classify":            "gate that runs",
		"POST /v1/drain":               "gate that runs",
		"POST /v1/suppressions":        "suppression list",
		"POST /v1/suppressions/search": "suppression list",
		"POST /v1/suppressions/remove": "suppression list",
		"POST /v1/suppressions/import": "suppression list",
		"GET /v1/suppressions/export":  "suppression list",
		"GET /v1/overrides":            "suppression list",
		"POST /v1/overrides":           "suppression list",
		"POST /v1/overrides/revoke":    "suppression list",
		"POST /v1/decisions/search":    "journal",
		"POST /v1/decisions/stream":    "gate that decides",
		"GET /v1/decisions/X":          "journal",
		"POST /v1/report":              "journal",
		"POST /v1/senders/search":      "table of senders",
		"POST /v1/senders/release":     "table of senders",
	} {
		method, path, _ := strings.Cut(path, " ")
		o.refused(o.send(method, path, "application/json", strings.NewReader("{}")), 503, "", "there is no "+want, " ")
	}
	for _, named := range []string{
		`{"kind": "address", "name": "a@example.com"}`, `{"kind": "domain", "name": "example.com"}`,
		`{"kind": "provider", "name": "google"}`,
	} {
		o.refused(o.post("/v1/cache/lookup", `{"domain": "example.com"}`), 503, "", "there is no cache", "verify.cache")
		o.refused(o.post("/v1/cache/lookup", `{"address": "a@example.com"}`), 503, "", "there is no cache", "")
		o.refused(o.post("/v1/forget", named), 501, "", "cannot be forgotten here", "allow it instead")
	}
}

func TestSenders(t *testing.T) {
	o := newOffice(t)
	now := time.Now()
	good := senders.Identity{Login: "good", SenderDomain: "example.com", Client: "192.0.2.1"}
	bad := senders.Identity{SenderDomain: "example.net", Client: "192.0.2.2"}
	for i := range 200 {
		rcpt := fmt.Sprintf("r%d@example.org", i)
		o.parts.Senders.Take(good, true, now)
		o.parts.Senders.Checked(good, rcpt, false, now)
		o.parts.Senders.Take(bad, true, now)
		o.parts.Senders.Checked(bad, rcpt, true, now)
	}
	var list web.Senders
	o.ask("POST", "/v1/senders/search", `{}`, &list)
	if list.Total != 2 || list.Senders[0].SenderDomain != "example.net" || list.Senders[0].State != senders.StateHold ||
		list.Senders[0].Why == "" || list.Senders[1].Login != "good" || list.Senders[1].Recipients.Hour != 200 {
		t.Errorf("%+v", list)
	}
	key := list.Senders[0].Key
	o.ask("POST", "/v1/senders/search", `{"state": "hold", "limit": 1}`, &list)
	if list.Total != 1 || list.Senders[0].Key != key {
		t.Errorf("%+v", list)
	}
	var released web.Released
	o.ask("POST", "/v1/senders/release", `{"key": "`+key+`"}`, &released)
	if !released.Released {
		t.Error("not released")
	}
	o.ask("POST", "/v1/senders/release", `{"key": "nobody"}`, &released)
	if released.Released {
		t.Error("released nobody")
	}
	o.ask("POST", "/v1/senders/search", `{"state": "hold"}`, &list)
	if list.Total != 0 {
		t.Errorf("%+v", list)
	}
}

func TestStatus(t *testing.T) {
	o := newOffice(t)
	_ = o.post("/v1/suppressions", `{"address": "bob@example.com"}`)
	_ = o.post("/v1/overrides", `{"kind": "domain", "name": "example.com"}`)
	o.decideAll()
	var s web.StatusAnswer
	o.ask("GET", "/v1/status", "", &s)
	if !s.Ready || s.State != "degraded" || len(s.Checks) != 1 || s.Checks[0].State != "degraded" ||
		s.Config != "gate.toml" || s.Mode != "active" || s.Preset != "cautious" || s.Version != "v1" ||
		s.Connections != 3 || len(s.Relay) != 1 || s.Relay[0].Error != "refused" || s.Files.Limit != 1024 ||
		len(s.Own.Addresses) != 1 || s.Own.Findings[0].Fix != "ask why" ||
		s.Suppressions[register.Manual] != 1 || s.Overrides != 1 || len(s.Senders) != 4 || s.Journal == nil {
		t.Errorf("%+v", s)
	}
}

// FuzzRequest: whatever comes in, the answer is JSON, and a fault is the client's, with what to do.
func FuzzRequest(f *testing.F) {
	o := newOffice(f)
	o.anything = true // the decoder takes what the description does not speak of, such as {"ADDRESS": null}
	paths := []string{
		"/v1/suppressions", "/v1/suppressions/search", "/v1/suppressions/remove", "/v1/overrides",
		"/v1/overrides/revoke", "/v1/forget", "/v1/decisions/search", "/v1/report", "/v1/senders/search",
		"/v1/senders/release",
	}
	for i := range paths {
		f.Add(uint8(i), `{"address":"a@example.com","scope":"login:x","where":{"domain":"x"},"for":"7d"}`)
		f.Add(uint8(i), `{"kind":"domain","name":"a.example","note":"\u0000","expires":"2099-01-01T00:00:00Z"}`)
		f.Add(uint8(i), `{"recipient":"a@b","client":"::1","limit":1,"state":"hold","key":"x","shadow":true}`)
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		o.t = t
		answer := o.post(paths[int(which)%len(paths)], body)
		if answer.status == http.StatusOK {
			if !json.Valid([]byte(answer.text)) {
				t.Errorf("%q is answered %q", body, answer.text)
			}
			return
		}
		var p web.Problem
		if err := json.Unmarshal([]byte(answer.text), &p); err != nil || p.Status != answer.status ||
			p.Status < 400 || p.Status > 499 || p.Detail == "" {
			t.Errorf("%q is answered %d %q", body, answer.status, answer.text)
		}
	})
}
