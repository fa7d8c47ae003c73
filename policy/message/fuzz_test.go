package message

import (
	"bytes"
	"context"
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// unstuff is the lexer's work done in the simplest way.
func unstuff(octets []byte) []byte {
	lines := bytes.SplitAfter(octets, []byte("\r\n"))
	for i := range lines {
		lines[i] = bytes.TrimPrefix(lines[i], []byte("."))
	}
	return bytes.Join(lines, nil)
}

// FuzzLexer: the octets of the message and what is said of them do not depend on the pieces.
func FuzzLexer(f *testing.F) {
	f.Add([]byte("a: b\r\n\r\n..x\r\n.\r\n\r\r\n\n.\n.\r\n"), uint8(3))
	f.Add([]byte(".\r\n\r\n.\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, octets []byte, piece uint8) {
		run := func(size int) (text []byte, header int, l lexer) {
			for rest := octets; len(rest) > 0; {
				part := rest[:min(len(rest), size)]
				rest = rest[len(part):]
				for len(part) > 0 {
					var out []byte
					before := l.body
					out, part = l.next(part)
					text = append(text, out...)
					if !before {
						header += len(out)
					}
				}
			}
			l.end()
			return text, header, l
		}
		whole, header, l := run(max(len(octets), 1))
		if want := unstuff(octets); !bytes.Equal(whole, want) {
			t.Fatalf("%q: %q, want %q", octets, whole, want)
		}
		text, header2, l2 := run(int(piece) + 1)
		if !bytes.Equal(text, whole) || header != header2 || l != l2 {
			t.Fatalf("%q in pieces of %d: %q, %d, %+v; want %q, %d, %+v",
				octets, int(piece)+1, text, header2, l2, whole, header, l)
		}
		if l.nul != bytes.Contains(octets, []byte{0}) {
			t.Fatalf("%q: NUL %v", octets, l.nul)
		}
		bare := bytes.ReplaceAll(octets, []byte("\r\n"), nil)
		if clean := !l.bareCR && !l.bareLF; clean != !bytes.ContainsAny(bare, "\r\n") {
			t.Fatalf("%q: bare CR %v, LF %v", octets, l.bareCR, l.bareLF)
		}
	})
}

// FuzzHeader: the fields are all of the header, in order.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("From: a@b.example\r\n c\r\nbad\r\n: x\r\n\r\nbody"))
	f.Add([]byte(" x\r\nDKIM-Signature: d=a.example; s=x; h=From:to:FROM\r\nTo: x\r\n"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		h := parseHeader(octets)
		var all []byte
		for i := range h.fields {
			all = append(all, h.fields[i].raw...)
			value, _ := h.fields[i].value(100)
			if len(value) > 100 || strings.ContainsAny(value, "\r\n") {
				t.Fatalf("value %q", value)
			}
		}
		if i := bytes.Index(octets, all); i < 0 {
			t.Fatalf("%q is not in %q", all, octets)
		}
		if len(h.fields) > maxFields {
			t.Fatal("too many fields")
		}
		list, _ := choose(h, "a.example")
		if len(list) > maxSignatures {
			t.Fatalf("%d signatures", len(list))
		}
		fields := handed(h, list)
		signatures, size := 0, 0
		for _, field := range fields {
			size += len(field.raw)
			if field.kind == kindSignature {
				signatures++
			}
		}
		if signatures != len(list) || len(list) > 0 && size > maxHanded {
			t.Fatalf("%d signatures and %d octets are handed over, %d chosen", signatures, size, len(list))
		}
		readAuthor(h, &Envelope{})
	})
}

// FuzzMailboxes: what we take, others read in the same way.
func FuzzMailboxes(f *testing.F) {
	for _, s := range []string{
		"Bob <bob@example.com>", `"a, b" <x@example.com>, y@example.com`, "G: a@example.com, b@example.com;",
		"a@example.com (comment)", `"q\"q"@example.com`, "x@[192.0.2.1]", "=?utf-8?q?x?= <a@example.com>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		list, fault := parseMailboxes(value)
		if fault != "" {
			if len(list) != 0 || !utf8.ValidString(fault) || strings.ContainsAny(fault, "\r\n\x00") {
				t.Fatalf("%q: %v %q", value, list, fault)
			}
			return
		}
		for i := range list {
			list[i].shows()
			// What is written from the value is read as the same value.
			again, fault := parseMailboxes("<" + list[i].addr.String() + ">")
			if fault != "" || len(again) != 1 || again[0].addr != list[i].addr {
				t.Fatalf("%q: %v is read as %v (%s)", value, list[i].addr, again, fault)
			}
		}
		others, err := mail.ParseAddressList(value)
		if err != nil {
			return
		}
		if len(others) != len(list) {
			t.Fatalf("%q: %d mailboxes, others read %d: %v", value, len(list), len(others), others)
		}
		for i, other := range others {
			_, domain, _ := strings.Cut(other.Address[strings.LastIndexByte(other.Address, '@'):], "@")
			if !strings.EqualFold(strings.TrimSuffix(domain, "."), list[i].addr.Domain()) {
				t.Fatalf("%q: %s, others read %s", value, list[i].addr, other.Address)
			}
		}
	})
}

// FuzzRecord: whatever a record says, its policy is one of three, and only v counts as a version.
func FuzzRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; np=quarantine; t=y; psd=n; adkim=s; aspf=s; rua=mailto:a@b.example")
	f.Add("v=DMARC1;p=x;;=;v=DMARC1")
	f.Fuzz(func(t *testing.T, txt string) {
		r, ok := parseRecord(txt)
		head, tail, _ := strings.Cut(txt, ";")
		blank := strings.NewReplacer(" ", "", "\t", "")
		is := blank.Replace(head) == "v=DMARC1" || blank.Replace(head) == "V=DMARC1"
		if ok && !is || ok != is && strings.Count(head, "DMARC1") == 1 && !strings.ContainsAny(head, " \t") {
			t.Fatalf("%q: %v", txt, ok)
		}
		if !ok {
			return
		}
		for _, below := range []bool{false, true} {
			for _, exists := range []bool{false, true} {
				switch r.policy(below, exists) {
				case policyNone, policyQuarantine, policyReject:
				default:
					t.Fatalf("%q: %q", txt, r.policy(below, exists))
				}
			}
		}
		// Tags that nobody knows change nothing.
		if again, ok := parseRecord("v=DMARC1;unknown=" + ";" + "x-y;" + tail); !ok || again != r {
			t.Fatalf("%q: %+v, with unknown tags %+v", txt, r, again)
		}
	})
}

// FuzzWalk: the organization of a domain is the domain or one above it, and at most 8 names are
// asked for.
func FuzzWalk(f *testing.F) {
	f.Add("a.b.example.com", "v=DMARC1; psd=y", uint16(5))
	f.Fuzz(func(t *testing.T, start, txt string, where uint16) {
		if !plainName(start) || start == "" || strings.HasSuffix(start, ".") {
			return
		}
		asked := 0
		w := walk(context.Background(), func(context.Context, string) dns.Answer {
			asked++
			if where>>(asked-1)&1 == 0 {
				return dns.Answer{Status: dns.NXDomain}
			}
			return dns.Answer{Status: dns.NoError, Txt: []string{txt}}
		}, start)
		if asked > maxWalk || w.org != start && !strings.HasSuffix(start, "."+w.org) {
			t.Fatalf("%q: %q after %d names", start, w.org, asked)
		}
	})
}

// FuzzURIs: what is taken is in the field, in angle brackets.
func FuzzURIs(f *testing.F) {
	f.Add("<https://example.com/a>, <mailto:a@example.com> (x)")
	f.Fuzz(func(t *testing.T, value string) {
		uris, fault := parseURIs(value)
		if (fault == "") != (len(uris) > 0) {
			t.Fatalf("%q: %v %q", value, uris, fault)
		}
		squeezed := strings.NewReplacer(" ", "", "\t", "").Replace(value)
		for _, uri := range uris {
			if !strings.Contains(squeezed, "<"+uri+">") {
				t.Fatalf("%q: %q", value, uri)
			}
		}
		oneClickURI(uris)
	})
}
