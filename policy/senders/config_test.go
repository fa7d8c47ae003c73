package senders

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func one(l Limit) Config { return Config{Limits: []Limit{l}} }

func TestCheck(t *testing.T) {
	hourly := []string{"200/hour"}
	good := Limit{Name: "a", Per: "login", Recipients: hourly}
	for _, tt := range []struct {
		cfg  Config
		want string // the faults: index field; parts of detail and hint
	}{
		{Config{}, ""},
		{enforce(), ""},
		{one(Limit{Name: "a", Per: "client", Messages: []string{"9/minute", "50/hour", "50/hour burst 5"}}), ""},
		{one(Limit{Per: "login", Recipients: hourly}), "0 name: a limit needs a name"},
		{one(Limit{Name: "\x01", Per: "login", Recipients: hourly}), "0 name: not printable"},
		{one(Limit{Name: strings.Repeat("a", 65), Per: "login", Recipients: hourly}), "0 name: 65 octets"},
		{one(Limit{Name: "list hygiene", Per: "login", Recipients: hourly}), "0 name: the breaker's"},
		{Config{Limits: []Limit{good, good}}, "1 name: limit 1 has the name"},
		{one(Limit{Name: "a", Per: "sender_domian", Recipients: hourly}), `0 per: did you mean "sender_domain"?`},
		{one(Limit{Name: "a", Per: "domain", Recipients: hourly}), `0 per: did you mean "sender_domain"?`},
		{one(Limit{Name: "a", Per: "", Recipients: hourly}), `0 per: valid: login, sender, sender_domain, client`},
		{one(Limit{Name: "a", Per: "login"}), `0 recipients: neither`},
		{one(Limit{Name: "a", Per: "login", Recipients: []string{"1/day", "2/day"}}), `0 recipients[1]: about the same`},
		{one(Limit{Name: "a", Per: "x", Messages: []string{"1"}}), "0 per: valid: login\n0 messages[0]: has no unit"},
		{Config{MaxKeys: 10}, "-1 max_keys: 10 is not between 1000 and 10000000"},
		{Config{MaxKeys: -1}, "-1 max_keys: -1 is not between"},
		{Config{Limits: make([]Limit, 65)}, "-1 limits: 65 limits, at most 64"},
		{Config{Hygiene: Hygiene{Mode: "enforced"}}, `-1 hygiene.mode: did you mean "enforce"?`},
		{Config{Hygiene: Hygiene{Mode: "on"}}, `-1 hygiene.mode: valid: off, warn, enforce`},
		{Config{Hygiene: Hygiene{Minimum: 5}}, `-1 hygiene.minimum: 5 is not between 10`},
		{Config{Hygiene: Hygiene{Distinct: -1}}, ""},
		{Config{Hygiene: Hygiene{Distinct: 10_001}}, `-1 hygiene.distinct: -1 holds nobody`},
		{Config{Hygiene: Hygiene{Hold: 10}}, `-1 hygiene.hold: 0.1 for 10 %`},
		{Config{Hygiene: Hygiene{Warn: -0.1}}, `-1 hygiene.warn: -0.1 is no share`},
		{Config{Hygiene: Hygiene{Warn: 0.06}}, `-1 hygiene.throttle: do not rise`},
		{Config{Hygiene: Hygiene{Hold: 0.02}}, `-1 hygiene.throttle: do not rise`},
	} {
		err := Check(tt.cfg)
		table, newErr := New(tt.cfg, nil)
		if (err == nil) != (newErr == nil) {
			t.Errorf("%+v: Check says %v, New %v", tt.cfg, err, newErr)
		}
		if err := table.Close(); err != nil {
			t.Error(err)
		}
		var faults ConfigErrors
		if errors.As(err, &faults) != (err != nil) {
			t.Errorf("%T", err)
		}
		want := strings.Split(tt.want, "\n")
		if tt.want == "" {
			want = nil
		}
		if len(want) == 1 && len(tt.cfg.Limits) > mostLimits {
			faults = faults[:1]
		}
		if len(faults) != len(want) {
			t.Errorf("%+v: %v; want %q", tt.cfg, err, tt.want)
			continue
		}
		for i, fault := range faults {
			place, part, _ := strings.Cut(want[i], ": ")
			if fmt.Sprintf("%d %s", fault.Index, fault.Field) != place || !strings.Contains(fault.Error(), part) {
				t.Errorf("%q; want %q", fault, want[i])
			}
		}
	}
}

// TestConfigError is what a person reads.
func TestConfigError(t *testing.T) {
	err := Check(one(Limit{Name: "per account", Per: "logins", Recipients: []string{"10/hours"}}))
	want := `limit 1 "per account": per: "logins" is nothing to count by; did you mean "login"? ` +
		"valid: login, sender, sender_domain, client\n" +
		`limit 1 "per account": recipients[0]: "hours" is no unit; did you mean "10/hour"? ` +
		"valid: minute, hour, day"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	if first, found := errors.AsType[*ConfigError](err); !found || first.Field != "per" {
		t.Errorf("%v, %v", first, found)
	}
}
