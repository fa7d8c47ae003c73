package register_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

func TestSuppressed(t *testing.T) {
	r := memory(t, register.Config{})
	domain := func(name string) register.Scope {
		return register.Scope{Kind: register.SenderDomain, Name: name}
	}
	login := func(name string) register.Scope {
		return register.Scope{Kind: register.Login, Name: name}
	}
	suppress(t, r,
		manual("bob@example.com"),
		manual("Ann@Example.COM"),
		register.Suppression{Address: "Exact@example.com", Reason: register.HardBounce},
		manual("*@blocked.test"),
		manual("*@*.example.net"),
		manual("*@Bücher.test"),
		manual("*@[192.0.2.1]"),
		manual(`"a b"@example.com`),
		manual(`"a@b"@example.com`),
		register.Suppression{Address: "scoped@example.com", Scope: domain("Sender.Test")},
		register.Suppression{Address: "scoped@example.com", Scope: login("Alice")},
		register.Suppression{Address: "*@scoped.test", Scope: login("Alice")},
		register.Suppression{Address: "*@*.scoped.test", Scope: domain("sender.test")},
	)
	for _, tt := range []struct {
		rcpt, sender, login string
		want                string // address, and scope if not global; "" for not suppressed
	}{
		{"bob@example.com", "", "", "bob@example.com"},
		{"bob@EXAMPLE.com", "", "", "bob@example.com"},
		{"BOB@example.com", "", "", "bob@example.com"},
		{"ann@example.com", "", "", "ann@example.com"},
		{"ANN@example.com", "", "", "ann@example.com"},
		{"bobby@example.com", "", "", ""},
		{"bob@sub.example.com", "", "", ""},
		{"bob@example.org", "", "", ""},
		{"Exact@example.com", "", "", "Exact@example.com"},
		{"exact@example.com", "", "", ""},
		{"EXACT@example.com", "", "", ""},
		{"any@blocked.test", "", "", "*@blocked.test"},
		{"any@sub.blocked.test", "", "", ""},
		{"any@example.net", "", "", ""},
		{"any@a.example.net", "", "", "*@*.example.net"},
		{"a@a.b.c.example.net", "", "", "*@*.example.net"},
		{"a@aexample.net", "", "", ""},
		{"x@bücher.test", "", "", "*@xn--bcher-kva.test"},
		{"x@xn--bcher-kva.test", "", "", "*@xn--bcher-kva.test"},
		{"x@[192.0.2.1]", "", "", "*@[192.0.2.1]"},
		{"x@[192.0.2.2]", "", "", ""},
		{`"a b"@example.com`, "", "", `"a b"@example.com`},
		{`"A\ b"@example.com`, "", "", `"a b"@example.com`},
		{`"a@b"@example.com`, "", "", `"a@b"@example.com`},
		{`"bob"@example.com`, "", "", "bob@example.com"},
		{`""@blocked.test`, "", "", "*@blocked.test"},
		{"postmaster", "", "", ""},
		{"scoped@example.com", "x@sender.test", "", "scoped@example.com sender_domain:sender.test"},
		{"scoped@example.com", "x@SENDER.test", "", "scoped@example.com sender_domain:sender.test"},
		{"scoped@example.com", "x@sub.sender.test", "", ""},
		{"scoped@example.com", "", "", ""},
		{"scoped@example.com", "", "Alice", "scoped@example.com login:Alice"},
		{"scoped@example.com", "", "alice", ""},
		{"scoped@example.com", "x@other.test", strings.Repeat("a", 1000), ""},
		{"a@scoped.test", "x@sender.test", "Alice", "*@scoped.test login:Alice"},
		{"a@scoped.test", "x@sender.test", "", ""},
		{"a@b.scoped.test", "x@sender.test", "Alice", "*@*.scoped.test sender_domain:sender.test"},
		{"a@b.scoped.test", "x@other.test", "Alice", ""},
	} {
		now := time.Now()
		s, found := r.Suppressed(addr(t, tt.rcpt), addr(t, tt.sender), tt.login, now)
		got := s.Address
		if s.Scope != (register.Scope{}) {
			got += " " + s.Scope.String()
		}
		if got != tt.want || found != (tt.want != "") {
			t.Errorf("%s from %q by %q: %q, %v; want %q", tt.rcpt, tt.sender, tt.login, got, found, tt.want)
		}
		p, there := r.Peek(addr(t, tt.rcpt), addr(t, tt.sender), tt.login, now)
		if there != found || p != s {
			t.Errorf("Peek of %s: %+v, %v", tt.rcpt, p, there)
		}
	}
}

// TestLongest: the longest address there can be, in the longest scope.
func TestLongest(t *testing.T) {
	r := memory(t, register.Config{})
	domain := strings.Repeat("a.", 122) + "test"
	address := "bo@" + domain
	scope := register.Scope{Kind: register.Login, Name: strings.Repeat("l", register.MaxLogin)}
	for _, s := range []string{address, "*@" + domain, "*@*." + domain} {
		suppress(t, r, register.Suppression{Address: s, Scope: scope})
	}
	for range 3 {
		s, found := r.Suppressed(addr(t, address), esmtp.Address{}, scope.Name, time.Now())
		if !found {
			t.Fatal("not found")
		}
		if removed, err := r.Unsuppress(s.Address, scope); !removed || err != nil {
			t.Fatal(removed, err)
		}
		address = "b@" + domain
		if s.Address == "*@"+domain {
			address = "b@b." + domain[2:]
			suppress(t, r, register.Suppression{Address: "*@*." + domain[2:], Scope: scope})
		}
	}
}

// TestPrecedence: the nearest suppression is told, and the one with the widest scope.
func TestPrecedence(t *testing.T) {
	r := memory(t, register.Config{})
	login := register.Scope{Kind: register.Login, Name: "alice"}
	domain := register.Scope{Kind: register.SenderDomain, Name: "sender.test"}
	order := []register.Suppression{
		{Address: "bob@a.b.test"},
		{Address: "bob@a.b.test", Scope: domain},
		{Address: "bob@a.b.test", Scope: login},
		{Address: "*@a.b.test"},
		{Address: "*@a.b.test", Scope: domain},
		{Address: "*@a.b.test", Scope: login},
		{Address: "*@*.b.test"},
		{Address: "*@*.test", Scope: login},
	}
	suppress(t, r, order...)
	for _, want := range order {
		s, _ := r.Suppressed(addr(t, "bob@a.b.test"), addr(t, "x@sender.test"), "alice", time.Now())
		if s.Address != want.Address || s.Scope != want.Scope {
			t.Errorf("%s %s before %s %s", s.Address, s.Scope, want.Address, want.Scope)
		}
		if there, err := r.Unsuppress(want.Address, want.Scope); !there || err != nil {
			t.Error(there, err)
		}
	}
	wantAddresses(t, r)
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory(t, register.Config{})
		s := manual("bob@example.com")
		s.Expires = time.Now().Add(time.Hour)
		suppress(t, r, s, manual("*@example.com"))
		rcpt := addr(t, "bob@example.com")
		find := func() string {
			s, _ := r.Suppressed(rcpt, esmtp.Address{}, "", time.Now())
			return s.Address
		}
		<-time.After(time.Hour - time.Second)
		if got := find(); got != "bob@example.com" {
			t.Errorf("a second before the end: %q", got)
		}
		<-time.After(time.Second)
		if got := find(); got != "*@example.com" {
			t.Errorf("at the end: %q", got)
		}
		wantAddresses(t, r, "*@example.com")
		if got := export(t, r); strings.Contains(got, "bob") {
			t.Errorf("exported: %s", got)
		}
		<-time.After(time.Hour) // by then it is swept
		wantCounts(t, r, map[register.Reason]int{register.Manual: 1})
		if there, err := r.Unsuppress("bob@example.com", register.Scope{}); there || err != nil {
			t.Errorf("an expired one is there: %v, %v", there, err)
		}
		_ = r.Close()
	})
}

func TestCountsAndHits(t *testing.T) {
	r := memory(t, register.Config{})
	suppress(t, r, manual("a@example.com"), manual("b@example.com"),
		register.Suppression{Address: "c@example.com", Reason: register.Complaint})
	suppress(t, r, register.Suppression{Address: "b@example.com", Reason: register.Unsubscribe})
	wantCounts(t, r, map[register.Reason]int{
		register.Manual: 1, register.Unsubscribe: 1, register.Complaint: 1,
	})
	for i := range uint64(3) {
		s, _ := r.Suppressed(addr(t, "a@example.com"), esmtp.Address{}, "", time.Now())
		if s.Hits != i+1 {
			t.Errorf("hit %d is told as %d", i+1, s.Hits)
		}
	}
	r.Peek(addr(t, "c@example.com"), esmtp.Address{}, "", time.Now())
	r.Suppressed(addr(t, "none@example.com"), esmtp.Address{}, "", time.Now())
	hits := r.Hits()
	if hits[register.Manual] != 3 || hits[register.Complaint] != 0 || len(hits) != 5 {
		t.Errorf("hits %v", hits)
	}
	list, total, err := r.List(register.Filter{Reason: register.Manual}, 0, 10)
	if err != nil || total != 1 || list[0].Hits != 3 {
		t.Errorf("%+v, %d, %v", list, total, err)
	}
}

// TestNoAllocation: what every recipient costs.
func TestNoAllocation(t *testing.T) {
	r := memory(t, learning)
	suppress(t, r, manual("bob@example.com"), manual("*@blocked.test"), manual("*@*.example.net"),
		register.Suppression{
			Address: "x@example.com", Scope: register.Scope{Kind: register.Login, Name: "alice"},
		})
	for _, o := range []register.Override{
		{Kind: register.AllowDomain, Name: ".example.org"},
		{Kind: register.AllowAddress, Name: "a@example.org"},
	} {
		if err := r.Allow(o); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	sender := addr(t, "news@sender.test")
	for _, s := range []string{
		"bob@example.com", "Bob@Example.COM", "a@blocked.test", "a@b.c.example.net", "x@example.com",
		"nobody@a.b.c.example.org", `"quoted local"@example.com`, "x@bücher.test",
	} {
		rcpt := addr(t, s)
		if n := testing.AllocsPerRun(100, func() {
			r.Suppressed(rcpt, sender, "alice", now)
			r.Allowed(rcpt, now)
			r.AllowedProvider("google", now)
			r.Delivered(rcpt, now)
		}); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

func TestNil(t *testing.T) {
	var r *register.Register
	rcpt := addr(t, "bob@example.com")
	if _, found := r.Suppressed(rcpt, rcpt, "alice", time.Now()); found {
		t.Error("suppressed")
	}
	if _, found := r.Peek(rcpt, rcpt, "alice", time.Now()); found {
		t.Error("suppressed")
	}
	if _, found := r.Allowed(rcpt, time.Now()); found {
		t.Error("allowed")
	}
	if _, found := r.AllowedProvider("google", time.Now()); found {
		t.Error("allowed")
	}
	r.Bounced(rcpt, esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no"), time.Now())
	r.Complained(rcpt, rcpt)
	r.Delivered(rcpt, time.Now())
	r.Reconfigure(learning)
	if ok, detail := r.Status(); !ok || detail != "" {
		t.Error(detail)
	}
	wantAddresses(t, r)
	if r.Overrides() != nil || export(t, r) != "" || len(r.Counts()) != 5 || len(r.Hits()) != 5 {
		t.Error("something is there")
	}
	_, errUnsuppress := r.Unsuppress("bob@example.com", register.Scope{})
	_, errRemove := r.Remove(register.Filter{Reason: register.Manual})
	_, errImport := r.ImportCSV(strings.NewReader("bob@example.com"), register.ImportOptions{})
	_, errRevoke := r.Revoke(register.AllowProvider, "google")
	for _, err := range []error{
		r.Suppress(manual("bob@example.com")), errUnsuppress, errRemove, errImport, errRevoke,
		r.Allow(register.Override{Kind: register.AllowProvider, Name: "google"}),
	} {
		if !errors.Is(err, register.ErrClosed) {
			t.Error(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	r := memory(t, learning)
	suppress(t, r, manual("bob@example.com"))
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := r.Suppress(manual("ann@example.com")); !errors.Is(err, register.ErrClosed) {
		t.Error(err)
	}
	wantAddresses(t, r, "bob@example.com")
}
