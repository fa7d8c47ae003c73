package message

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// soon is how long a signature has to be valid still: as long as a queue keeps mail, and more.
const soon = 7 * 24 * time.Hour

// evidence is all that is known of a message; from here on nothing waits.
type evidence struct {
	run  *Run
	now  time.Time
	from string // the From domain; "" if there is not exactly one
	bulk bool

	spf        spfResult
	spfKnown   bool // otherwise it was not checked, or did not come in time
	domains    []*mailDomain
	walks      map[string]*walked
	signatures []verified
	dkimFault  string
}

// outcome is what one check found; the zero value is nothing wrong.
type outcome struct {
	bad     bool // proven
	unknown bool // the DNS did not say
	detail  string
	// enhanced is the subject and detail of the enhanced code, if they are not the check's.
	enhanced [2]int
}

func bad(detail string) outcome { return outcome{bad: detail != "", detail: detail} }

func unknown(detail string) outcome { return outcome{unknown: true, detail: detail} }

// check makes one check. found are the checks that found something already: what follows from that
// is not said again.
func (e *evidence) check(c Check, found map[Check]bool) outcome {
	r := e.run
	a := r.author
	switch c {
	case Form:
		o := bad(a.form(&r.lexer, &r.env, e.now))
		if o.bad && a.formFrom() == o.detail {
			o.enhanced = [2]int{7, 1}
		}
		return o
	case LineLength:
		if r.lexer.longest > maxLine {
			return bad("one has " + strconv.Itoa(r.lexer.longest) + " octets")
		}
	case HeaderSize:
		return bad(a.excess)
	case From:
		if !found[Form] {
			return bad(a.authors(a.subscription || e.bulk))
		}
	case RecipientsOnce:
		return bad(a.recipientsOnce())
	case MessageID:
		return bad(a.identifier())
	case SenderDomain:
		return e.senderDomain()
	case ListID:
		if a.list && !a.listID {
			return bad("it is mail of a mailing list")
		}
	case OneClick:
		if a.subscription {
			return bad(a.oneClick())
		}
	default:
		return e.authenticity(c, found)
	}
	return outcome{}
}

// authenticity is the checks of SPF, DKIM and DMARC.
func (e *evidence) authenticity(c Check, found map[Check]bool) outcome {
	switch c {
	case SPF:
		return e.checkSPF()
	case DKIM:
		return e.dkim()
	case DKIMWeak:
		return e.weak()
	case DKIMCovered:
		return e.uncovered()
	case DKIMAligned:
		if !found[DKIM] && !found[FreeProvider] {
			return e.dkimAligned(false)
		}
	case FreeProvider:
		if _, free := freeProviders[e.from]; free {
			o := e.dkimAligned(true)
			if o.bad {
				o.detail = e.from
			}
			return o
		}
	case DMARCRecord:
		return e.dmarcRecord()
	case DMARC:
		return e.dmarc()
	case Aligned:
		if !found[DMARC] && !found[FreeProvider] {
			return e.aligned()
		}
	case OneClickCovered:
		if e.run.author.subscription && !found[OneClick] && !found[DKIM] {
			return e.oneClickCovered()
		}
	default:
	}
	return outcome{}
}

func (e *evidence) senderDomain() outcome {
	slices.SortFunc(e.domains, func(a, b *mailDomain) int { return cmp.Compare(a.domain, b.domain) })
	o := outcome{}
	for _, d := range e.domains {
		switch {
		case d.unknown:
			o = unknown("the mail server of " + safe(d.domain) + " cannot be looked up")
		case d.nullMX:
			o = bad(safe(d.domain) + " declares that it takes no mail (null MX)")
			o.enhanced = [2]int{7, 27} // RFC 7505 section 4.2
			return o
		case !d.exists:
			return bad(safe(d.domain) + " has no mail server")
		}
	}
	return o
}

func (e *evidence) checkSPF() outcome {
	switch {
	case e.run.spf == nil || e.spfKnown && e.spf.pass:
		return outcome{}
	case !e.spfKnown:
		return unknown("SPF of " + e.run.spfDomain() + " cannot be looked up")
	case e.spf.unknown:
		return unknown(e.spf.why)
	}
	return bad(e.spf.why)
}

// dkim wants one valid signature.
func (e *evidence) dkim() outcome {
	o := outcome{}
	for i := range e.signatures {
		s := &e.signatures[i]
		switch {
		case s.valid:
			return outcome{}
		case s.unknown:
			o = unknown(s.why)
		case !o.unknown && !o.bad:
			o = bad("the signature of " + safe(s.domain) + " is not valid: " + s.why)
		}
	}
	switch {
	case len(e.signatures) > 0:
		return o
	case e.dkimFault != "":
		return bad(e.dkimFault)
	}
	return bad("it has no DKIM-Signature")
}

// eachValid gives every valid signature to fault. The outcome is bad if there are some, and each has a
// fault: the first one's.
func (e *evidence) eachValid(fault func(*verified) string) outcome {
	first := ""
	for i := range e.signatures {
		s := &e.signatures[i]
		if !s.valid {
			continue
		}
		detail := fault(s)
		if detail == "" {
			return outcome{}
		}
		if first == "" {
			first = detail
		}
	}
	return bad(first)
}

func (e *evidence) weak() outcome {
	return e.eachValid(func(s *verified) string {
		switch {
		case s.bits > 0 && s.bits < 2048:
			return "the key " + safe(s.keyName()) + " has " + strconv.Itoa(s.bits) + " bits"
		case !s.expires.IsZero() && s.expires.Sub(e.now) < soon:
			return "the signature of " + safe(s.domain) + " expires within 7 days"
		}
		return ""
	})
}

func (e *evidence) uncovered() outcome {
	return e.eachValid(func(s *verified) string {
		if s.uncovered == "" {
			return ""
		}
		return s.uncovered + " occurs more often than the signature of " + safe(s.domain) + " signs it"
	})
}

func (e *evidence) oneClickCovered() outcome {
	o := bad("no valid signature covers List-Unsubscribe and List-Unsubscribe-Post")
	for i := range e.signatures {
		s := &e.signatures[i]
		switch {
		case s.valid && s.unsubscribe:
			return outcome{}
		case s.unknown && s.unsubscribe:
			o = unknown(s.why)
		}
	}
	return o
}

// strict is what the owner of the From domain says of alignment; without a record it is relaxed.
func (e *evidence) strict() (dkim, spf bool) {
	w := e.walks[e.from]
	if w == nil {
		return false, false
	}
	f, _, _ := w.record()
	return f.record.strict.dkim, f.record.strict.spf
}

// alignment reports how a domain stands to the From domain (RFC 9989 section 4.10.2).
func (e *evidence) alignment(domain string, strict bool) (yes bool, missing string) {
	domain = strings.ToLower(domain)
	if domain == e.from {
		return true, ""
	}
	if strict || !related(domain, e.from) {
		return false, ""
	}
	for _, name := range []string{e.from, domain} {
		w := e.walks[name]
		switch {
		case w == nil:
			return false, ""
		case w.unknown != "":
			return false, w.unknown
		}
	}
	return e.walks[domain].org == e.walks[e.from].org, ""
}

// dkimAligned wants a valid signature of the From domain; ownOnly: of exactly it.
func (e *evidence) dkimAligned(ownOnly bool) outcome {
	if e.from == "" {
		return outcome{}
	}
	strict, _ := e.strict()
	o := bad("From is of " + safe(e.from))
	for i := range e.signatures {
		s := &e.signatures[i]
		if !s.valid && !s.unknown {
			continue
		}
		yes, missing := e.alignment(s.domain, ownOnly || strict)
		switch {
		case yes && s.valid:
			return outcome{}
		case yes:
			o = unknown(s.why)
		case missing != "":
			o = unknown(safe(missing) + " cannot be looked up")
		case !o.unknown && s.valid:
			o = bad("From is of " + safe(e.from) + ", the signature of " + safe(s.domain))
		}
	}
	return o
}

// aligned wants DKIM or SPF to be aligned.
func (e *evidence) aligned() outcome {
	o := e.dkimAligned(false)
	if !o.bad && !o.unknown {
		return outcome{}
	}
	domain := e.run.spfDomain()
	_, strict := e.strict()
	yes, missing := e.alignment(domain, strict)
	switch {
	case !yes && missing != "":
		return unknown(safe(missing) + " cannot be looked up")
	case !yes:
		return o
	case e.run.spf == nil, e.spfKnown && e.spf.pass:
		return outcome{} // it passes, or could pass: where the mail leaves from is not known
	case !e.spfKnown || e.spf.unknown:
		return unknown("SPF of " + safe(domain) + " cannot be looked up")
	case o.bad:
		o.detail += "; " + e.spf.why
	}
	return o
}

func (e *evidence) dmarcRecord() outcome {
	w := e.walks[e.from]
	if w == nil {
		return outcome{}
	}
	_, ok, missing := w.record()
	switch {
	case ok:
		return outcome{}
	case missing != "":
		return unknown(safe(missing) + " cannot be looked up")
	case w.several != "":
		return bad("there are several at " + safe(w.several) + ", so that none counts")
	case w.void != "":
		return bad("the one at " + safe(w.void) + " does not count: its tag " + w.voidTag +
			" is invalid, and rua has no address")
	}
	return bad("there is none at _dmarc." + safe(e.from))
}

// dmarc fails where the owner of the From domain wants something done about it.
func (e *evidence) dmarc() outcome {
	w := e.walks[e.from]
	if w == nil {
		return outcome{}
	}
	rec, ok, missing := w.record()
	switch {
	case missing != "":
		o := e.aligned()
		if o.bad {
			o = unknown(safe(missing) + " cannot be looked up")
		}
		return o
	case !ok:
		return outcome{}
	}
	exists := true
	for _, d := range e.domains {
		if d.domain == e.from && !d.unknown {
			exists = d.exists
		}
	}
	policy := rec.record.policy(rec.domain != e.from, exists)
	if policy == policyNone {
		return outcome{}
	}
	o := e.aligned()
	if o.bad {
		o.detail = "_dmarc." + safe(rec.domain) + " asks for " + string(policy) + "; " + o.detail
	}
	return o
}

// freeProviders are domains of mailboxes for everybody, whose owners sign all their mail. Read only.
var freeProviders = map[string]struct{}{
	"gmail.com": {}, "googlemail.com": {}, "yahoo.com": {}, "yahoo.co.uk": {}, "yahoo.de": {},
	"yahoo.fr": {}, "yahoo.it": {}, "yahoo.es": {}, "ymail.com": {}, "rocketmail.com": {},
	"aol.com": {}, "outlook.com": {}, "hotmail.com": {}, "hotmail.co.uk": {}, "hotmail.fr": {},
	"live.com": {}, "msn.com": {}, "icloud.com": {}, "me.com": {}, "mac.com": {}, "gmx.de": {},
	"gmx.net": {}, "gmx.at": {}, "gmx.ch": {}, "gmx.com": {}, "web.de": {}, "proton.me": {},
	"protonmail.com": {}, "mail.ru": {}, "yandex.ru": {}, "laposte.net": {}, "orange.fr": {},
	"wanadoo.fr": {}, "free.fr": {}, "t-online.de": {}, "comcast.net": {}, "qq.com": {},
}
