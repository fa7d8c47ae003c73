package esmtp

import "testing"

func TestIDNA(t *testing.T) {
	for in, want := range map[string]string{
		"bücher.example":        "xn--bcher-kva.example",
		"BÜCHER.Example.":       "xn--bcher-kva.example",
		"faß.example":           "xn--fa-hia.example", // non-transitional
		"日本語。example":           "xn--wgv71a119e.example",
		"ｅｘａｍｐｌｅ．com":           "example.com",
		"mail_1.bücher.example": "mail_1.xn--bcher-kva.example",
		"ab--cd.bücher.example": "ab--cd.xn--bcher-kva.example",
		"u\u0308ber.example":    "xn--ber-goa.example", // decomposed
		"אבג.example":           "xn--4dbcd.example",
		"ab--cd.example":        "ab--cd.example",
		"xn--zzzzzz.example":    "xn--zzzzzz.example",
		"XN--BCHER-KVA.example": "xn--bcher-kva.example",
		"3com.example":          "3com.example",
	} {
		a, err := ParseAddress("a@"+in, true)
		if err != nil || a.ASCIIDomain() != want {
			t.Errorf("%q = %q, %v; want %q", in, a.ASCIIDomain(), err, want)
			continue
		}
		ascii, ok := a.ASCII()
		if !ok || ascii.NeedsUTF8() || ascii.Key() != a.Key() {
			t.Errorf("ASCII form of %q: %q, %v", a, ascii, ok)
		}
	}
	for _, in := range []string{
		"bü\u200dcher.example",     // a joiner out of place
		"א1ב\u0661.example",        // mixed numbers, RFC 5893
		"bücher..example",          // empty label
		"\u00ad.example",           // nothing left
		"bü cher.example",          // a blank
		"b\u2100.bücher.example",   // maps to a slash
		"bücher\uff20evil.example", // maps to @
		"bücher.1",                 // ends with a number
		"\ufffd.example",
	} {
		if a, err := ParseAddress("a@"+in, true); err == nil {
			t.Errorf("%q = %q, want an error", in, a.ASCIIDomain())
		}
	}
	_, err := ParseMail("FROM:<a@bücher.example>")
	checkRefusal(t, "U-label without SMTPUTF8", err, "553 5.6.7")
	_, err = ParseRcpt("TO:<a@bücher.example>", false)
	checkRefusal(t, "U-label without SMTPUTF8", err, "553 5.6.7")
	if a := mustAddress(t, "a@bücher.example"); a.Domain() != "bücher.example" || !a.NeedsUTF8() {
		t.Errorf("as written: %q", a.Domain())
	}
}
