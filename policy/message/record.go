package message

import "strings"

// policyTag is what the owner of a domain asks receivers to do with mail that fails DMARC.
type policyTag string

const (
	policyNone       policyTag = "none"
	policyQuarantine policyTag = "quarantine"
	policyReject     policyTag = "reject"
)

// record is a DMARC record (RFC 9989 section 4.7). Tags that are missing or wrong have their
// defaults; unknown ones are ignored.
type record struct {
	p      policyTag // never ""
	sp, np policyTag // "": not there
	// invalid names a tag of p, sp and np that has another value than the three. The policy is then
	// none, if rua has an address; otherwise the record does not count (section 4.10.1).
	invalid string
	rua     bool
	testing bool // t=y
	psd     byte // 'y', 'n' or 'u'
	strict  struct{ dkim, spf bool }
}

// parseRecord parses a TXT record. ok is false if it is no DMARC record at all: it does not begin with
// the tag v, or its value is not exactly DMARC1.
func parseRecord(txt string) (r record, ok bool) {
	first, rest, _ := strings.Cut(txt, ";")
	name, value, found := cutTag(first)
	if !found || name != "v" || value != "DMARC1" {
		return record{}, false
	}
	r = record{p: policyNone, psd: 'u'}
	seen := make(map[string]bool)
	for rest != "" {
		var tag string
		tag, rest, _ = strings.Cut(rest, ";")
		name, value, found = cutTag(tag)
		if !found || seen[name] {
			continue // of a tag that occurs twice, the first counts
		}
		seen[name] = true
		r.set(name, value)
	}
	if r.invalid != "" {
		r.p, r.sp, r.np = policyNone, "", ""
	}
	return r, true
}

// void reports whether the record does not count (RFC 9989 section 4.10.1).
func (r *record) void() bool { return r.invalid != "" && !r.rua }

func (r *record) set(name, value string) {
	lower := strings.ToLower(value)
	switch name {
	case "p":
		r.setPolicy(&r.p, name, lower)
	case "sp":
		r.setPolicy(&r.sp, name, lower)
	case "np":
		r.setPolicy(&r.np, name, lower)
	case "t":
		r.testing = lower == "y"
	case "psd":
		if lower == "y" || lower == "n" {
			r.psd = lower[0]
		}
	case "adkim":
		r.strict.dkim = lower == "s"
	case "aspf":
		r.strict.spf = lower == "s"
	case "rua":
		for uri := range strings.SplitSeq(value, ",") {
			scheme, rest, found := strings.Cut(strings.Trim(uri, " \t"), ":")
			r.rua = r.rua || found && scheme != "" && rest != "" && !strings.ContainsAny(uri, "<>\"")
		}
	}
}

func (r *record) setPolicy(p *policyTag, name, value string) {
	switch v := policyTag(value); v {
	case policyNone, policyQuarantine, policyReject:
		*p = v
	default:
		if r.invalid == "" {
			r.invalid = name
		}
	}
}

// cutTag splits "name = value"; the name in lower case, blanks are left out.
func cutTag(s string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(s, "=")
	name = strings.ToLower(strings.Trim(name, " \t"))
	if name == "" {
		return "", "", false
	}
	return name, strings.Trim(value, " \t"), ok
}

// policy is what the record asks for mail of a domain: the record's own, or one below it, which may
// exist or not. With t=y it is one step weaker (RFC 9989 section 4.7).
func (r *record) policy(below, exists bool) policyTag {
	p := r.p
	if below {
		switch {
		case !exists && r.np != "":
			p = r.np
		case r.sp != "":
			p = r.sp
		}
	}
	if r.testing {
		switch p {
		case policyReject:
			return policyQuarantine
		case policyQuarantine:
			return policyNone
		case policyNone:
		}
	}
	return p
}
