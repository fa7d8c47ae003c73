package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
)

// TestSuppressionsOf: a recipient falls under those of its mailbox, and of its domains.
func TestSuppressionsOf(t *testing.T) {
	for rcpt, want := range map[string][]web.SuppressionFilter{
		"postmaster": nil,
		`"A b"@bücher.example.com`: {
			{Contains: `"A b"@xn--bcher-kva.example.com`, Domain: "xn--bcher-kva.example.com"},
			{Contains: "*@", Domain: "xn--bcher-kva.example.com"},
			{Contains: "*@", Domain: "example.com"},
			{Contains: "*@", Domain: "com"},
		},
		"a@[192.0.2.1]": {
			{Contains: "a@[192.0.2.1]", Domain: "[192.0.2.1]"},
			{Contains: "*@", Domain: "[192.0.2.1]"},
		},
	} {
		to, err := esmtp.ParseAddress(rcpt, true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, suppressionsOf(to)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", rcpt, diff)
		}
	}
}
