package web_test

import (
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// remembered knows one mailbox, and one that mail arrived at.
func remembered(a esmtp.Address) (verify.Remembered, bool) {
	stored := time.Now().Add(-time.Minute)
	switch a.Local() + "@" + a.ASCIIDomain() {
	case "anna@example.com":
		return verify.Remembered{
			Result: verify.Result{
				Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown, Confidence: 0.98, MX: "mx.example.com",
				Reply: esmtp.Reply{Code: 550, Lines: []string{"5.1.1 <...> \x1bunknown"}}, Checked: stored,
			},
			Stored: stored, Refresh: stored.Add(time.Hour), Expire: stored.Add(24 * time.Hour), InFile: true,
		}, true
	case "bob@example.com":
		return verify.Remembered{Delivered: stored}, false
	}
	return verify.Remembered{}, false
}

func rememberedDomain() verify.RememberedDomain {
	return verify.RememberedDomain{
		Report: &verify.DomainReport{AcceptsAll: 0.01234, Accepted: 3, Refused: time.Now()}, Provider: "google",
		Mailboxes: 7, MX: mx.Set{Domain: "example.com", Hosts: []mx.Host{{Name: "mx.example.com", Pref: 10}}},
	}
}

func TestCached(t *testing.T) {
	o := newOffice(t)
	var got web.LookedUp
	o.ask("POST", "/v1/cache/lookup", `{"address": "anna@Example.COM"}`, &got)
	if m := got.Mailbox; m == nil || m.Tier != "file" || m.Age < 60 || m.Verdict != "undeliverable" ||
		m.Reply != `550 5.1.1 <...> \x1bunknown` || got.Arrived != nil {
		t.Errorf("%+v", m)
	}
	if d := got.Domain; d.Domain != "example.com" || !d.Known || d.Mailboxes != 7 || d.Facts.AcceptsAll != 0.012 ||
		len(d.MX) != 1 || d.MX[0].Preference != 10 {
		t.Errorf("%+v", d)
	}
	got = web.LookedUp{}
	o.ask("POST", "/v1/cache/lookup", `{"address": "bob@example.com"}`, &got)
	if got.Mailbox != nil || got.Arrived == nil {
		t.Errorf("%+v", got)
	}
	got = web.LookedUp{}
	o.ask("POST", "/v1/cache/lookup", `{"domain": "example.com"}`, &got)
	if got.Address != "" || got.Mailbox != nil || !got.Domain.Known {
		t.Errorf("%+v", got)
	}
	for range 3 {
		decide(o.parts.Metrics, policy.Accept, &verify.Result{Verdict: verify.Deliverable, Cached: true}, 0)
	}
	var n web.CacheCounts
	o.ask("GET", "/v1/cache", "", &n)
	if n.Hits.Memory != 2 || n.Hits.File != 1 || n.File == nil || !n.File.OK || n.Memory.Deliverable != 1 {
		t.Errorf("%+v", n)
	}
}
