package mxsim

import (
	"strings"
	"testing"
)

// FuzzFilling holds the words of a reply against strings.Replacer.
func FuzzFilling(f *testing.F) {
	for _, seed := range []string{
		"250 2.1.5 Ok", "550 5.1.1 <{rcpt}>: unknown in {host}", "220 {host} {helo} {peer} {id}",
		"{", "}", "{}", "{{rcpt}}", "{rcpt", "{rcpt {from}", "{local}@{domain}{nobody}", "",
	} {
		f.Add(seed, "anna@example.com", "{host}")
	}
	f.Fuzz(func(t *testing.T, text, rcpt, from string) {
		fill := filling{
			{"rcpt", rcpt},
			{"from", from},
			{"local", "anna"},
			{"domain", "example.com"},
			{"host", "mx.example.com"},
			{"helo", "gate.example.net"},
			{"peer", "192.0.2.1"},
			{"id", ""},
		}
		var pairs []string
		for _, w := range fill {
			pairs = append(pairs, "{"+w.word+"}", w.value)
		}
		if got, want := fill.replace(text), strings.NewReplacer(pairs...).Replace(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	})
}
