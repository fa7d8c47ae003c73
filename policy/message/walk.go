package message

import (
	"context"
	"strings"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// maxWalk is how many names are asked for at most (RFC 9989 section 4.10).
const maxWalk = 8

// found is a DMARC record with its domain.
type found struct {
	domain string
	record record
}

// walked is what the tree walk of RFC 9989 section 4.10 from one domain found.
type walked struct {
	start   string
	records []found // valid ones, from the longest domain to the shortest
	org     string  // the organizational domain; "" only if unknown
	// several is a name with more than one record, which then all do not count; "": none.
	several string
	// void is a domain whose record does not count because of an invalid tag; "": none.
	void, voidTag string
	// unknown says which look-up failed; "": none did. What would have come behind it is not known.
	unknown string
}

// askTXT asks for TXT records, as dns.Resolver.TXT.
type askTXT func(ctx context.Context, name string) dns.Answer

// walk asks for the DMARC records of a domain and of those above it. Where a look-up fails the walk
// ends: a record may have been missed, which would have decided.
func walk(ctx context.Context, ask askTXT, start string) *walked {
	w := &walked{start: start}
	domain := start
	for range maxWalk {
		a := ask(ctx, "_dmarc."+domain)
		if a.Status == dns.Failure {
			w.unknown = "_dmarc." + domain
			return w
		}
		if stop := w.take(domain, a.Txt); stop {
			break
		}
		if domain = above(domain); domain == "" {
			break
		}
	}
	w.org = w.organization()
	return w
}

// above is the next domain to ask for: one label less, but at most seven.
func above(domain string) string {
	labels := strings.Count(domain, ".") + 1
	for {
		_, rest, ok := strings.Cut(domain, ".")
		if !ok {
			return ""
		}
		domain = rest
		if labels--; labels < maxWalk {
			return domain
		}
	}
}

// take notes the records of a domain. It reports whether the walk is to stop there.
func (w *walked) take(domain string, txt []string) (stop bool) {
	var one record
	n := 0
	for _, t := range txt {
		if r, ok := parseRecord(t); ok {
			one = r
			n++
		}
	}
	switch {
	case n == 0:
		return false
	case n > 1:
		if w.several == "" {
			w.several = "_dmarc." + domain
		}
		return false
	case one.void():
		if w.void == "" {
			w.void, w.voidTag = "_dmarc."+domain, one.invalid
		}
		return false
	}
	w.records = append(w.records, found{domain, one})
	return one.psd != 'u'
}

// organization is the organizational domain (RFC 9989 section 4.10.2).
func (w *walked) organization() string {
	org := w.start
	for _, f := range w.records {
		switch {
		case f.record.psd == 'n':
			return f.domain
		case f.record.psd == 'y' && f.domain != w.start:
			return below(w.start, f.domain)
		}
		org = f.domain
	}
	return org
}

// below is the domain one label below suffix on the way to domain.
func below(domain, suffix string) string {
	head := strings.TrimSuffix(domain, "."+suffix)
	return head[strings.LastIndexByte(head, '.')+1:] + "." + suffix
}

// record is the one that applies to the domain where the walk began: its own, its
// organization's, or the public suffix's (RFC 9989 section 4.10.1). missing is a name that would have
// to be known to say.
func (w *walked) record() (f found, ok bool, missing string) {
	for _, f := range w.records {
		if f.domain == w.start {
			return f, true, ""
		}
	}
	if w.unknown != "" {
		return found{}, false, w.unknown
	}
	for _, f := range w.records {
		if f.domain == w.org {
			return f, true, ""
		}
	}
	for _, f := range w.records {
		if f.record.psd == 'y' {
			return f, true, ""
		}
	}
	return found{}, false, ""
}
