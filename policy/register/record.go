package register

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unique"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// record is a Suppression as it is kept: 64 octets, and its text. What is not atomic never changes
// once it is in the table, but for lapsed.
type record struct {
	text    string // the key, and then the evidence
	source  unique.Handle[string]
	created int64 // Unix seconds
	expires int64 // Unix seconds; 0: never
	hits    atomic.Uint32

	code     uint16
	enhanced [3]uint16
	keyLen   uint16
	addrLen  uint16 // of the address, with which the key begins
	reason   uint8  // an index of reasons
	bounces  uint8
	lapsed   bool // it expired and is not counted any more; under the shard's lock
}

// A key is the address, and for another scope than the global one also a NUL, which no address has,
// the kind and the name.
const keyRoom = esmtp.MaxPath + 2 + MaxLogin + 64

var kindMarks = [scopeKinds]byte{Global: 0, SenderDomain: 'd', Login: 'l'}

// form is what an Address means.
type form uint8

const (
	mailbox      form = iota
	wholeDomain       // *@example.com
	belowDomain       // *@*.example.com
	addressForms = iota
)

const (
	wholePrefix = "*@"
	belowPrefix = "*@*."
)

func formOf(address string) form {
	switch {
	case !strings.HasPrefix(address, wholePrefix):
		return mailbox
	case !strings.HasPrefix(address, belowPrefix):
		return wholeDomain
	default:
		return belowDomain
	}
}

// newRecord checks a Suppression. Created must be set. The error is a [*FieldError].
func newRecord(s *Suppression) (*record, error) {
	reason := slices.Index(reasons[:], s.Reason)
	if reason < 0 {
		return nil, &FieldError{
			"reason", quote(string(s.Reason)) + " is no reason",
			"valid: hard_bounce, complaint, unsubscribe, manual, import",
		}
	}
	if err := checkReply(s); err != nil {
		return nil, err
	}
	created, err := seconds("created", s.Created)
	if err != nil {
		return nil, err
	}
	expires := int64(0)
	if !s.Expires.IsZero() {
		if expires, err = seconds("expires", s.Expires); err != nil {
			return nil, err
		}
	}
	if s.Bounces < 0 || s.Bounces > 100 {
		return nil, &FieldError{"bounces", "it is a number from 0 to 100", ""}
	}
	var room [keyRoom + MaxEvidence]byte
	text, addrLen, err := appendKey(room[:0], s.Address, s.Scope, reason != hardBounce)
	if err != nil {
		return nil, err
	}
	r := &record{
		source:  unique.Make(clean(s.Source, MaxSource)),
		created: created,
		expires: expires,
		code:    uint16(s.Code),    //nolint:gosec // checkReply bounds it
		keyLen:  uint16(len(text)), //nolint:gosec // at most keyRoom
		addrLen: uint16(addrLen),   //nolint:gosec // at most keyRoom
		reason:  uint8(reason),     //nolint:gosec // one of five
		bounces: uint8(s.Bounces),
	}
	for i, n := range s.Enhanced {
		r.enhanced[i] = uint16(n) //nolint:gosec // checkReply bounds it
	}
	r.text = string(append(text, clean(s.Evidence, MaxEvidence)...))
	return r, nil
}

// checkReply bounds what the codes may be, and takes for a hard bounce only what can be one.
func checkReply(s *Suppression) error {
	if s.Code == 0 && s.Enhanced == (esmtp.EnhancedCode{}) {
		return nil
	}
	if s.Code < 500 || s.Code > 599 {
		return &FieldError{"reply", "only a 5xx reply is remembered", `write "550 5.1.1"`}
	}
	if e := s.Enhanced; e != (esmtp.EnhancedCode{}) &&
		(e[0] != 5 || min(e[1], e[2]) < 0 || max(e[1], e[2]) > 999) { // RFC 3463 section 2
		return &FieldError{"reply", "its enhanced code is not of class 5", `write "550 5.1.1"`}
	}
	if s.Reason == HardBounce {
		if why := notProof(s.Code, s.Enhanced); why != "" {
			return &FieldError{"reply", why, `give another reason, such as "manual", if it is meant`}
		}
	}
	return nil
}

// lastSecond is the end of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

func seconds(field string, t time.Time) (int64, error) {
	if s := t.Unix(); s > 0 && s <= lastSecond {
		return s, nil
	}
	return 0, &FieldError{field, "the time is not between 1970 and 9999", "write 2026-12-31T00:00:00Z"}
}

// appendKey appends the key of an address, as people write it, in a scope. addrLen is how much of
// it is the address. The error is a [*FieldError].
func appendKey(dst []byte, address string, scope Scope, folded bool) (
	key []byte, addrLen int, err error,
) {
	bad := func(detail string) error {
		return &FieldError{
			"address", quote(address) + ": " + detail,
			"a mailbox is user@example.com, a domain *@example.com, its subdomains *@*.example.com",
		}
	}
	switch f := formOf(address); f {
	case mailbox:
		a, err := esmtp.ParseAddress(address, true)
		if err != nil {
			return nil, 0, bad(strings.TrimPrefix(err.Error(), "bad recipient address: "))
		}
		if a.ASCIIDomain() == "" {
			return nil, 0, bad("the domain is missing")
		}
		dst = appendAddress(dst, a)
		if folded {
			fold(dst, len(dst)-len(a.ASCIIDomain())-1)
		}
	default:
		prefix := wholePrefix
		if f == belowDomain {
			prefix = belowPrefix
		}
		domain, err := asciiDomain(address[len(prefix):])
		if err != nil {
			return nil, 0, bad(err.Error())
		}
		if f == belowDomain && strings.HasPrefix(domain, "[") {
			return nil, 0, bad("an address literal has no subdomains")
		}
		dst = append(append(dst, prefix...), domain...)
	}
	if scope, err = scope.normal(); err != nil {
		return nil, 0, err
	}
	return appendScope(dst, scope.Kind, scope.Name), len(dst), nil
}

// appendAddress appends a mailbox as keys have it: as it is written, with the ASCII domain. dst
// must be empty.
func appendAddress(dst []byte, a esmtp.Address) []byte {
	path := a.AppendPath(dst)
	return append(path[1:len(path)-1-len(a.Domain())], a.ASCIIDomain()...)
}

func appendScope(dst []byte, kind ScopeKind, name string) []byte {
	if kind == Global {
		return dst
	}
	return append(append(dst, 0, kindMarks[kind]), name...)
}

// fold puts the ASCII letters of a local part, the first octets of an address, in lower case, and
// tells whether that made a difference.
func fold(address []byte, local int) bool {
	changed := false
	for i, c := range address[:local] {
		if c >= 'A' && c <= 'Z' {
			address[i] = c + 'a' - 'A'
			changed = true
		}
	}
	return changed
}

// splitKey is what appendKey joined.
func splitKey(key string) (string, Scope) {
	address, rest, scoped := strings.Cut(key, "\x00")
	if !scoped {
		return address, Scope{}
	}
	kind := SenderDomain
	if rest[0] == kindMarks[Login] {
		kind = Login
	}
	return address, Scope{kind, rest[1:]}
}

func (r *record) key() string      { return r.text[:r.keyLen] }
func (r *record) address() string  { return r.text[:r.addrLen] }
func (r *record) evidence() string { return r.text[r.keyLen:] }

func (r *record) scope() Scope {
	if r.keyLen == r.addrLen {
		return Scope{}
	}
	_, scope := splitKey(r.key())
	return scope
}

func (r *record) enhancedCode() esmtp.EnhancedCode {
	return esmtp.EnhancedCode{int(r.enhanced[0]), int(r.enhanced[1]), int(r.enhanced[2])}
}

// inForce reports whether it has not expired.
func (r *record) inForce(now int64) bool { return r.expires == 0 || now < r.expires }

// remembered reports whether it is still to be kept: in force, or learned and not long gone, since
// the next bounce is then not the first.
func (r *record) remembered(now int64) bool {
	return r.inForce(now) || r.reason == hardBounce && r.bounces > 0 && now < r.expires+probation
}

// suppression allocates nothing.
func (r *record) suppression() Suppression {
	s := Suppression{
		Address:  r.address(),
		Scope:    r.scope(),
		Reason:   reasons[r.reason],
		Code:     int(r.code),
		Enhanced: r.enhancedCode(),
		Evidence: r.evidence(),
		Source:   r.source.Value(),
		Bounces:  int(r.bounces),
		Created:  time.Unix(r.created, 0).UTC(),
		Hits:     uint64(r.hits.Load()),
	}
	if r.expires != 0 {
		s.Expires = time.Unix(r.expires, 0).UTC()
	}
	return s
}
