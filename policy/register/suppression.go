package register

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Limits in octets. Longer evidence, sources and notes are cut; a longer login is refused.
const (
	MaxEvidence = 256
	MaxSource   = 64
	MaxNote     = 256
	MaxLogin    = 255
)

// Reason is why an address is suppressed.
type Reason string

// The reasons there are.
const (
	HardBounce  Reason = "hard_bounce" // a mail server proved that there is no such mailbox
	Complaint   Reason = "complaint"   // the recipient called a mail spam
	Unsubscribe Reason = "unsubscribe" // the recipient asked for no more
	Manual      Reason = "manual"      // an administrator says so
	Import      Reason = "import"      // it stood in a list that gave no reason
)

// Reasons returns every reason.
func Reasons() []Reason { return slices.Clone(reasons[:]) }

const (
	hardBounce = iota // the index of HardBounce in reasons
	complaint
	unsubscribe
	manual
	reasonCount = 5
)

var reasons = [reasonCount]Reason{HardBounce, Complaint, Unsubscribe, Manual, Import}

// ScopeKind is whose mail a suppression holds for.
type ScopeKind uint8

// The kinds of scope.
const (
	Global       ScopeKind = iota // everybody's
	SenderDomain                  // that of envelope senders of one domain, not of its subdomains
	Login                         // that of one SASL login
	scopeKinds   = iota
)

// Scope is whose mail a suppression holds for. The zero value is everybody's.
type Scope struct {
	Kind ScopeKind
	// Name is the domain, with A-labels in lower case, or the login, exact. "" for Global.
	Name string
}

const (
	globalText       = "global"
	senderDomainText = "sender_domain:"
	loginText        = "login:"
)

// String returns "global", "sender_domain:example.com" or "login:bob".
func (s Scope) String() string {
	switch s.Kind {
	case SenderDomain:
		return senderDomainText + s.Name
	case Login:
		return loginText + s.Name
	default:
		return globalText
	}
}

// MarshalText is String.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseScope.
func (s *Scope) UnmarshalText(text []byte) (err error) {
	*s, err = ParseScope(string(text))
	return err
}

// ParseScope parses what String writes; "" is global too. The error is a [*FieldError].
func ParseScope(text string) (Scope, error) {
	var s Scope
	if name, ok := strings.CutPrefix(text, senderDomainText); ok {
		s = Scope{SenderDomain, name}
	} else if name, ok := strings.CutPrefix(text, loginText); ok {
		s = Scope{Login, name}
	} else if text != "" && text != globalText {
		return Scope{}, &FieldError{
			"scope", quote(text) + " is no scope",
			`write "global", "sender_domain:example.com" or "login:bob"`,
		}
	}
	return s.normal()
}

// normal returns the scope with its name in the form that is compared.
func (s Scope) normal() (Scope, error) {
	switch s.Kind {
	case Global:
		if s.Name != "" {
			return Scope{}, &FieldError{"scope", "the global scope has no name", "leave it out"}
		}
	case SenderDomain:
		domain, err := asciiDomain(s.Name)
		if err != nil {
			return Scope{}, &FieldError{"scope", err.Error(), "write sender_domain:example.com"}
		}
		s.Name = domain
	case Login:
		if s.Name == "" || len(s.Name) > MaxLogin || s.Name != strings.TrimSpace(escape(s.Name)) {
			return Scope{}, &FieldError{
				"scope", "a login has 1 to 255 printable octets, without blanks around them",
				"write login:bob",
			}
		}
	default:
		return Scope{}, &FieldError{"scope", fmt.Sprintf("there is no scope %d", s.Kind), ""}
	}
	return s, nil
}

// Suppression is an address that gets no more mail, and why. There is one at most for each address
// and scope.
type Suppression struct {
	// Address is one of
	//
	//	local@example.com   one mailbox, its local part in quotes where RFC 5321 wants them
	//	*@example.com       every mailbox of the domain, not of its subdomains
	//	*@*.example.com     every mailbox of its subdomains, at any depth, not of itself
	//
	// The domain comes back with A-labels in lower case. The local part comes back exact for
	// HardBounce, and in lower case (ASCII letters) for the other reasons: see the package.
	Address string
	Scope   Scope
	Reason  Reason

	// Code and Enhanced are the refusal of a hard bounce, to be repeated; zero if not known.
	Code     int
	Enhanced esmtp.EnhancedCode
	// Evidence is what proves it, such as the reply, and Source who says so ("feedback", "admin").
	// Both come back escaped, without blanks around them, cut at MaxEvidence and MaxSource.
	Evidence string
	Source   string
	// Bounces is how often in a row a hard bounce was learned; 0 for what was not learned.
	Bounces int

	Created time.Time // to the second; zero: now
	Expires time.Time // to the second; zero: never

	// Hits is how often Suppressed found it since the start. It is not kept and not read.
	Hits uint64
}

// FieldError is a value that cannot be taken, for the person who gave it.
type FieldError struct {
	Field  string // "address", "scope", "reason", "reply", "expires", ...
	Detail string // what is wrong
	Hint   string // what to do instead; may be ""
}

// Error is "field: detail; hint".
func (e *FieldError) Error() string {
	text := e.Field + ": " + e.Detail
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// notProof says why a refusal cannot prove that a mailbox does not exist; "" if it can. It is the
// last check of what others have judged: a reply that blames the sender, the message or the server
// has put many good addresses on the suppression lists of other programs.
func notProof(code int, enhanced esmtp.EnhancedCode) string {
	subject, detail := enhanced[1], enhanced[2]
	switch {
	case code/100 != 5:
		return "only a 5xx reply proves that there is no mailbox"
	case enhanced != (esmtp.EnhancedCode{}):
		// RFC 3463 section 3.2: x.1.7 and x.1.8 are about the sender's address. 5.4.1 is what
		// Exchange Online says of recipients that its directory does not have.
		if enhanced[0] == 5 && (subject == 0 || subject == 1 && detail != 7 && detail != 8 ||
			subject == 2 && detail <= 1 || subject == 4 && detail == 1) {
			return ""
		}
		return enhanced.String() + " is not about whether the mailbox exists"
	case code == 550 || code == 551 || code == 553 || code == 554 || code == 556:
		return ""
	default:
		return fmt.Sprintf("%d is not about whether the mailbox exists", code)
	}
}

// asciiDomain returns a domain, or an address literal, as addresses have it.
func asciiDomain(s string) (string, error) {
	a, err := esmtp.ParseAddress("x@"+s, true)
	if err != nil {
		return "", fmt.Errorf("%s is no domain", quote(s))
	}
	return a.ASCIIDomain(), nil
}

// clean returns text from anywhere as it is kept: escaped, trimmed, cut. Cleaning it again changes
// nothing.
func clean(s string, limit int) string {
	s = strings.TrimSpace(escape(cut(s, limit)))
	return strings.TrimSpace(cut(s, limit))
}

// cut shortens s to limit octets, not within a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

func escape(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return string(esmtp.AppendEscaped(nil, s, true))
		}
	}
	return s
}

// quote is what somebody wrote, to be shown in an error.
func quote(s string) string { return `"` + escape(cut(s, 80)) + `"` }
