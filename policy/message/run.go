package message

import (
	"context"
	"net/netip"
	"strings"
	"time"
)

// Run is the check of one message. Its methods are called one after the other; those of a nil Run
// do nothing.
type Run struct {
	checker  *Checker
	settings *settings
	env      Envelope
	began    time.Time

	ctx    context.Context // of the look-ups
	cancel context.CancelFunc
	wg     crew
	over   bool

	lexer  lexer
	head   []byte  // the header so far
	author *author // once the header is complete

	verifier  *verifier
	dkimFault string // why there is none although there are signatures

	spf     *task[spfResult]
	domains map[string]*task[*mailDomain]
	walks   map[string]*task[*walked]
}

// Write takes the next octets as they go over the wire: dot-stuffed, with CRLF, without the final
// dot. It keeps none of them. It waits only for the hashing of the body, and at most one second in a
// message for the keys of its signatures (see the package comment).
func (r *Run) Write(p []byte) {
	if r == nil {
		return
	}
	for len(p) > 0 {
		body := r.lexer.body
		var text []byte
		text, p = r.lexer.next(p)
		switch {
		case body:
			r.verifier.write(text)
		case r.author != nil: // of a header that is too large
		case len(r.head)+len(text) > maxHeader:
			r.readHeader("it is larger than 128 KiB")
		default:
			r.head = append(r.head, text...)
			if r.lexer.body {
				r.readHeader("")
			}
		}
	}
}

// Close ends the check of a message that is not to be finished. After Finish it does nothing.
func (r *Run) Close() {
	if r == nil {
		return
	}
	r.cancel()
	r.verifier.end(true)
	r.wg.Wait()
	if !r.over {
		r.over = true
		r.settings.messages.Done()
	}
}

// readHeader reads the header and begins with the look-ups. excess says which limit it exceeds.
func (r *Run) readHeader(excess string) {
	h := parseHeader(r.head)
	if excess != "" {
		h.excess = excess
	}
	r.author = readAuthor(h, &r.env)
	s := r.settings
	if s.signatures() && h.count[kindSignature] > 0 {
		switch {
		case h.excess != "":
			r.dkimFault = "the header is too large to verify its signatures"
		case r.lexer.headerBare:
			r.dkimFault = "the header has octets that no header may have"
		default:
			r.verifier, r.dkimFault = newVerifier(r.ctx, &r.wg, r.settings.resolver.TXT, h, r.author.domain())
		}
	}
	r.head = nil
	r.beginDomains()
	r.beginWalks()
}

// beginSPF starts the SPF check of the envelope sender: nothing of the header is needed for it.
func (r *Run) beginSPF() {
	s := r.settings
	domain := r.spfDomain()
	if domain == "" || s.Egress == nil || !s.any(SPF, DMARC, Aligned) {
		return
	}
	addrs := s.Egress()
	if len(addrs) == 0 {
		return
	}
	addrs = append([]netip.Addr(nil), addrs...)
	r.spf = begin(r.ctx, &r.wg, func(ctx context.Context) spfResult {
		return r.checker.spf.all(ctx, s.resolver, addrs, s.Helo, domain)
	})
}

// spfDomain is the domain that SPF asks about: RFC 7208 section 2.4. "" is none.
func (r *Run) spfDomain() string {
	switch {
	case r.env.From.IsNull():
		return strings.ToLower(r.settings.Helo)
	case r.env.From.IsLiteral():
		return ""
	}
	return r.env.From.ASCIIDomain()
}

// beginDomains looks up whether the senders' domains take mail. For DMARC it matters whether the
// From domain exists.
func (r *Run) beginDomains() {
	r.domains = make(map[string]*task[*mailDomain])
	look := func(domain string) {
		const most = 5
		if domain == "" || domain[0] == '[' || r.domains[domain] != nil || len(r.domains) == most {
			return
		}
		r.domains[domain] = begin(r.ctx, &r.wg, func(ctx context.Context) *mailDomain {
			return lookDomain(ctx, r.settings.resolver, domain)
		})
	}
	if r.settings.any(SenderDomain, DMARC) {
		look(r.author.domain())
	}
	if r.settings.any(SenderDomain) {
		look(r.env.From.ASCIIDomain())
		for _, list := range [][]mailbox{r.author.from, r.author.replyTo} {
			for i := range list {
				look(list[i].addr.ASCIIDomain())
			}
		}
	}
}

// beginWalks looks for the DMARC records of the From domain, and for the organizations of the domains
// that may be aligned with it.
func (r *Run) beginWalks() {
	r.walks = make(map[string]*task[*walked])
	from := r.author.domain()
	if from == "" || !r.settings.any(DMARCRecord, DMARC, Aligned, DKIMAligned, FreeProvider) {
		return
	}
	look := func(domain string) {
		domain = strings.ToLower(domain)
		if !related(domain, from) || r.walks[domain] != nil {
			return
		}
		r.walks[domain] = begin(r.ctx, &r.wg, func(ctx context.Context) *walked {
			return walk(ctx, r.settings.resolver.TXT, domain)
		})
	}
	look(from)
	look(r.spfDomain())
	if r.verifier != nil {
		for i := range r.verifier.list {
			look(r.verifier.list[i].domain)
		}
	}
}

// related reports whether two domains can have the same organization: at least the last label is
// the same.
func related(a, b string) bool {
	return a != "" && plainName(a) &&
		a[strings.LastIndexByte(a, '.')+1:] == b[strings.LastIndexByte(b, '.')+1:]
}

// Finish says what was found, after the last octet. It waits for the DNS at most Config.Timeout and
// as long as ctx; what is not known then does not reject.
func (r *Run) Finish(ctx context.Context) Report {
	if r == nil {
		return Report{}
	}
	defer r.Close()
	r.lexer.end()
	if r.author == nil {
		r.readHeader("")
	}
	r.verifier.end(false)
	ctx, cancel := context.WithTimeout(ctx, r.settings.Timeout)
	defer cancel()
	return r.report(r.collect(ctx))
}

// collect waits for what was begun.
func (r *Run) collect(ctx context.Context) *evidence {
	e := &evidence{
		run: r, now: time.Now(), from: r.author.domain(), walks: make(map[string]*walked),
		dkimFault: r.dkimFault,
	}
	e.spf, e.spfKnown = r.spf.wait(ctx)
	for name, t := range r.domains {
		d, ok := t.wait(ctx)
		if !ok {
			d = &mailDomain{domain: name, unknown: true}
		}
		e.domains = append(e.domains, d)
	}
	for name, t := range r.walks {
		w, ok := t.wait(ctx)
		if !ok {
			w = &walked{start: name, unknown: "_dmarc." + name}
		}
		e.walks[name] = w
	}
	if v := r.verifier; v != nil {
		result, ok := v.result.wait(ctx)
		if !ok {
			v.giveUpKeys()
			<-v.result.done // the body is complete: nothing but hashing is left
			result = v.result.value
		}
		e.signatures = result.list
		for _, fault := range []string{v.fault, result.fault} {
			if e.dkimFault == "" {
				e.dkimFault = fault
			}
		}
		if v.fault != "" {
			e.signatures = nil
		}
	}
	return e
}
