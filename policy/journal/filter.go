package journal

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// DefaultLimit is how many entries a search returns at most, if the filter does not say.
const DefaultLimit = 100

// Filter says which entries are wanted: those that have all that it names. The zero value wants
// all.
type Filter struct {
	Ref         string
	From, To    time.Time // when; To itself is not wanted
	Kind        Kind
	Session     string
	Transaction string

	// Recipient and Sender are an address, or "@example.com" for all of a domain. An address finds
	// its shortened form too, which others may share, and its hash, if Secret is the same.
	Recipient, Sender string
	Login             string
	Client            string // IP address, or a network such as "192.0.2.0/24"

	Action   string // "accept", "defer", "reject": what happened or, in shadow mode, would have
	Refused  bool   // refusals only, those that would have been among them
	Rule     string
	Reason   string
	Provider string

	Limit int // of the entries returned: 0 is DefaultLimit, negative none
}

// Check returns what is wrong with the filter, with the next step.
func (f Filter) Check() error {
	_, err := f.compile(nil)
	return err
}

// full reports whether n entries are all that may be returned.
func (f Filter) full(n int) bool {
	if f.Limit == 0 {
		return n >= DefaultLimit
	}
	return f.Limit > 0 && n >= f.Limit
}

// matcher is a filter made ready.
type matcher struct {
	Filter

	recipient, sender addressMatcher
	login             []string
	network           netip.Prefix
	needles           [][]byte // that stand in every line that matches
}

// addressMatcher matches the forms that an address may have been written in.
type addressMatcher struct {
	forms  []string
	domain string
}

// compile checks a filter. secret is for RedactHash.
func (f Filter) compile(secret []byte) (*matcher, error) {
	m := &matcher{Filter: f}
	var err error
	if m.recipient, err = compileAddress("recipient", f.Recipient, secret); err != nil {
		return nil, err
	}
	if m.sender, err = compileAddress("sender", f.Sender, secret); err != nil {
		return nil, err
	}
	if f.Login != "" {
		for _, mode := range []string{RedactOff, RedactLocal, RedactHash} {
			r := redactor{mode: mode, secret: secret}
			m.login = append(m.login, string(esmtp.AppendEscaped(nil, r.login(f.Login), true)))
		}
	}
	if f.Client != "" {
		if m.network, err = parseNetwork(f.Client); err != nil {
			return nil, err
		}
	}
	switch f.Action {
	case "", "accept", "defer", "reject":
	default:
		return nil, fmt.Errorf("unknown action %q: write accept, defer or reject", f.Action)
	}
	switch f.Kind {
	case "", KindRecipient, KindMessage:
	default:
		return nil, fmt.Errorf("unknown kind %q: write %s or %s", f.Kind, KindRecipient, KindMessage)
	}
	m.needle("ref", f.Ref)
	m.needle("session", f.Session)
	m.needle("transaction", f.Transaction)
	m.needle("rule", f.Rule)
	m.needle("reason", f.Reason)
	m.needle("provider", f.Provider)
	return m, nil
}

// needle has lines without a field passed over before they are decoded.
func (m *matcher) needle(key, value string) {
	if value != "" && isPlain(value) {
		m.needles = append(m.needles, []byte(`"`+key+`":"`+value+`"`))
	}
}

func compileAddress(field, s string, secret []byte) (m addressMatcher, err error) {
	switch {
	case s == "":
		return m, nil
	case s == "<>":
		m.forms = []string{s}
		return m, nil
	case s[0] == '@':
		a, err := esmtp.ParseAddress("x"+s, true)
		if err != nil {
			return m, fmt.Errorf("the %s %q is no domain: %w", field, s, err)
		}
		m.domain = a.ASCIIDomain()
		return m, nil
	}
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		if strings.HasPrefix(s, hashMark) || strings.Contains(s, "…") { // as the journal has it
			m.forms = []string{s}
			return m, nil
		}
		return m, fmt.Errorf("the %s %q is no address: %w; write user@example.com or @example.com",
			field, s, err)
	}
	for _, mode := range []string{RedactOff, RedactLocal, RedactHash} {
		r := redactor{mode: mode, secret: secret}
		m.forms = append(m.forms, string(r.appendAddress(nil, a)))
	}
	return m, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix.Masked(), nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("the client %q is no IP address: write 192.0.2.7 or "+
			"192.0.2.0/24", s)
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// worth reports whether a line may match, before it is decoded. Lines that this package has not
// written, with blanks for example, are always decoded:.
func (m *matcher) worth(line []byte) bool {
	for _, needle := range m.needles {
		if !bytes.Contains(line, needle) && bytes.HasPrefix(line, ownLine) {
			return false
		}
	}
	return true
}

// ownLine is how the lines of this package begin, in which needles are to be found.
var ownLine = []byte(`{"v":1,"time":"`)

// match reports whether an entry is wanted.
func (m *matcher) match(e *Entry) bool {
	return is(m.Ref, e.Ref) && is(string(m.Kind), string(e.Kind)) &&
		is(m.Session, e.Session) && is(m.Transaction, e.Transaction) &&
		is(m.Action, e.Decided()) && (!m.Refused || e.Refused()) &&
		is(m.Rule, e.Rule) && is(m.Reason, e.Reason) && is(m.Provider, e.Provider) &&
		(m.From.IsZero() || !e.Time.Before(m.From)) && (m.To.IsZero() || e.Time.Before(m.To)) &&
		m.recipient.match(e.Recipient) && m.sender.match(e.Sender) &&
		(m.login == nil || slices.Contains(m.login, e.Login)) && m.client(e.Client)
}

func is(wanted, got string) bool { return wanted == "" || wanted == got }

func (m *matcher) client(s string) bool {
	if !m.network.IsValid() {
		return true
	}
	addr, err := netip.ParseAddr(s)
	return err == nil && m.network.Contains(addr)
}

func (m *addressMatcher) match(s string) bool {
	switch {
	case m.domain != "":
		return domainOf(s) == m.domain
	case m.forms != nil:
		return slices.Contains(m.forms, s)
	}
	return true
}
