package register_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

func TestSuppressRefuses(t *testing.T) {
	r := memory(t, register.Config{})
	past := time.Now().Add(-time.Minute)
	for _, tt := range []struct {
		field string
		s     register.Suppression
	}{
		{"address", manual("")},
		{"address", manual("bob")},
		{"address", manual("postmaster")},
		{"address", manual("bob@")},
		{"address", manual("bob@exa mple.com")},
		{"address", manual("bob@example.com\n")},
		{"address", manual("*@")},
		{"address", manual("*@*.")},
		{"address", manual("*@*.[192.0.2.1]")},
		{"address", manual("*@x@example.com")},
		{"address", manual(strings.Repeat("a", 65) + "@example.com")},
		{"reason", register.Suppression{Address: "bob@example.com"}},
		{"reason", register.Suppression{Address: "bob@example.com", Reason: "spite"}},
		{"scope", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Scope: register.Scope{Name: "x"},
		}},
		{"scope", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual,
			Scope: register.Scope{Kind: register.SenderDomain},
		}},
		{"scope", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual,
			Scope: register.Scope{Kind: register.Login, Name: "a\tb"},
		}},
		{"scope", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Scope: register.Scope{Kind: 9},
		}},
		{"expires", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Expires: past,
		}},
		{"created", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Created: time.Unix(-1, 0),
		}},
		{"expires", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Expires: time.Unix(1<<60, 0),
		}},
		{"reply", register.Suppression{Address: "bob@example.com", Reason: register.Manual, Code: 450}},
		{"reply", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Enhanced: esmtp.EnhancedCode{5, 1, 1},
		}},
		{"reply", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Code: 550,
			Enhanced: esmtp.EnhancedCode{5, 1, 100_000},
		}},
		{"reply", register.Suppression{
			Address: "bob@example.com", Reason: register.HardBounce, Code: 550,
			Enhanced: esmtp.EnhancedCode{5, 7, 1},
		}},
		{"bounces", register.Suppression{
			Address: "bob@example.com", Reason: register.Manual, Bounces: -1,
		}},
	} {
		err := r.Suppress(tt.s)
		fault, ok := errors.AsType[*register.FieldError](err)
		if !ok || fault.Field != tt.field || strings.ContainsAny(err.Error(), "\t\n") {
			t.Errorf("%+v: %v; want a fault of %s", tt.s, err, tt.field)
		}
	}
	wantAddresses(t, r)
}

// TestNormalForm: what comes back is what is kept, and giving it again changes nothing.
func TestNormalForm(t *testing.T) {
	r := memory(t, register.Config{})
	created := time.Date(2026, 3, 1, 12, 0, 0, 999, time.FixedZone("", 3600))
	suppress(t, r, register.Suppression{
		Address: `"Bob"@Bücher.Test`, Reason: register.Manual,
		Scope:    register.Scope{Kind: register.SenderDomain, Name: "BÜCHER.test"},
		Evidence: " 550 5.1.1\tno\r\nsuch user \u202eé" + strings.Repeat("ü", 500),
		Source:   "an\x00admin ", Created: created, Code: 550, Enhanced: esmtp.EnhancedCode{5, 1, 1},
	})
	list, _, err := r.List(register.Filter{}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	got := list[0]
	if got.Address != "bob@xn--bcher-kva.test" || got.Scope.Name != "xn--bcher-kva.test" ||
		got.Source != `an\x00admin` || !got.Created.Equal(created.Truncate(time.Second)) ||
		!strings.HasPrefix(got.Evidence, `550 5.1.1\x09no\x0d\x0asuch user \xe2\x80\xaeéüü`) ||
		len(got.Evidence) > register.MaxEvidence || got.Code != 550 || got.Enhanced.String() != "5.1.1" {
		t.Errorf("%+v", got)
	}
	suppress(t, r, got)
	list, total, err := r.List(register.Filter{}, 0, 10)
	if err != nil || total != 1 || list[0] != got {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestScopeText(t *testing.T) {
	for text, want := range map[string]register.Scope{
		"":                          {},
		"global":                    {},
		"sender_domain:Bücher.test": {Kind: register.SenderDomain, Name: "xn--bcher-kva.test"},
		"login:Bob:x y":             {Kind: register.Login, Name: "Bob:x y"},
	} {
		var s register.Scope
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
		again, err := register.ParseScope(s.String())
		if err != nil || again != s {
			t.Errorf("%s: %+v, %v", s, again, err)
		}
	}
	for _, text := range []string{
		"everybody", "login:", "sender_domain:", "sender_domain:a b", "login: a",
	} {
		if s, err := register.ParseScope(text); err == nil {
			t.Errorf("%s: %+v", text, s)
		}
	}
}

func TestUnsuppress(t *testing.T) {
	r := memory(t, register.Config{})
	suppress(t, r, manual("bob@example.com"), manual("*@example.org"),
		register.Suppression{Address: "Bob@example.com", Reason: register.HardBounce},
		register.Suppression{Address: "Ann@example.com", Reason: register.HardBounce})
	for _, tt := range []struct {
		address string
		there   bool
		left    int
	}{
		{"ann@example.com", false, 4}, // a hard bounce is for the exact spelling
		{"Ann@EXAMPLE.com", true, 3},
		{"Bob@example.com", true, 1}, // both: mail to it gets through then
		{"Bob@example.com", false, 1},
		{"*@Example.ORG", true, 0},
	} {
		there, err := r.Unsuppress(tt.address, register.Scope{})
		if left := len(addresses(t, r)); there != tt.there || err != nil || left != tt.left {
			t.Errorf("%s: %v, %v, %d left", tt.address, there, err, left)
		}
	}
	if _, err := r.Unsuppress("nonsense", register.Scope{}); err == nil {
		t.Error("nonsense is an address")
	}
}

func TestListAndRemove(t *testing.T) {
	r := memory(t, register.Config{})
	login := register.Scope{Kind: register.Login, Name: "alice"}
	for i := range 3000 {
		s := manual(fmt.Sprintf("user%04d@example.com", i))
		switch i % 3 {
		case 1:
			s.Address, s.Source = fmt.Sprintf("user%04d@example.org", i), "crm"
		case 2:
			s.Scope, s.Reason = login, register.Unsubscribe
		}
		suppress(t, r, s)
	}
	suppress(t, r, manual("*@example.org"), manual("*@*.example.org"))
	for _, tt := range []struct {
		f             register.Filter
		offset, limit int
		total         int
		want          []string
	}{
		{register.Filter{}, 0, 2, 3002, []string{"*@*.example.org", "*@example.org"}},
		{register.Filter{}, 3000, 9, 3002, []string{"user2998@example.org", "user2999@example.com"}},
		{register.Filter{}, 5000, 9, 3002, nil},
		{register.Filter{}, -5, -5, 3002, nil},
		{register.Filter{}, math.MaxInt, 9, 3002, nil},
		{register.Filter{}, math.MaxInt / 2, 1 << 40, 3002, nil},
		{register.Filter{Domain: "Example.org"}, 0, 3, 1002, []string{
			"*@*.example.org", "*@example.org", "user0001@example.org",
		}},
		{register.Filter{Contains: "SER0010"}, 0, 9, 1, []string{"user0010@example.org"}},
		{register.Filter{Source: "crm"}, 999, 9, 1000, []string{"user2998@example.org"}},
		{register.Filter{Reason: register.Unsubscribe}, 1, 1, 1000, []string{"user0005@example.com"}},
		{register.Filter{Scope: &login}, 0, 1, 1000, []string{"user0002@example.com"}},
		{register.Filter{Scope: &register.Scope{}, Contains: "user2"}, 0, 1, 666, []string{
			"user2001@example.com",
		}},
	} {
		list, total, err := r.List(tt.f, tt.offset, tt.limit)
		var got []string
		for _, s := range list {
			got = append(got, s.Address)
		}
		if err != nil || total != tt.total || !slices.Equal(got, tt.want) {
			t.Errorf("%+v %d %d: %q of %d, %v", tt.f, tt.offset, tt.limit, got, total, err)
		}
	}
	for _, f := range []register.Filter{
		{}, {Reason: "spite"}, {Domain: "no domain"}, {Scope: &register.Scope{Kind: register.Login}},
	} {
		if n, err := r.Remove(f); err == nil || n != 0 {
			t.Errorf("%+v removes %d", f, n)
		}
	}
	if n, err := r.Remove(register.Filter{Source: "crm"}); n != 1000 || err != nil {
		t.Error(n, err)
	}
	if n, err := r.Remove(register.Filter{Scope: &login}); n != 1000 || err != nil {
		t.Error(n, err)
	}
	wantCounts(t, r, map[register.Reason]int{register.Manual: 1002})
}

// TestLimit: the list takes no more than it may, also not in part, and expired entries make room.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := learning
		cfg.MaxEntries = 3
		r := memory(t, cfg)
		short := manual("a@example.com")
		short.Expires = time.Now().Add(time.Minute)
		suppress(t, r, short, manual("b@example.com"), manual("c@example.com"))
		full := func(err error) {
			t.Helper()
			limit := fmt.Sprintf("may have %d entries", cfg.MaxEntries)
			if !errors.Is(err, register.ErrFull) || !strings.Contains(err.Error(), limit) {
				t.Error(err)
			}
		}
		full(r.Suppress(manual("d@example.com")))
		suppress(t, r, manual("c@example.com")) // in place of another
		bounce := esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no")
		r.Bounced(addr(t, "e@example.com"), bounce, time.Now())
		_, err := r.ImportCSV(strings.NewReader("b@example.com\nf@example.com"), register.ImportOptions{})
		full(err)
		wantAddresses(t, r, "a@example.com", "b@example.com", "c@example.com")

		<-time.After(time.Minute)
		suppress(t, r, manual("d@example.com"))
		full(r.Suppress(manual("e@example.com")))
		wantAddresses(t, r, "b@example.com", "c@example.com", "d@example.com")

		cfg.MaxEntries = 4
		r.Reconfigure(cfg)
		suppress(t, r, manual("e@example.com"))
		cfg.MaxEntries = 1
		r.Reconfigure(cfg)
		full(r.Suppress(manual("f@example.com")))
		if len(addresses(t, r)) != 4 {
			t.Error("a lower limit drops entries")
		}
		_ = r.Close()
	})
}
