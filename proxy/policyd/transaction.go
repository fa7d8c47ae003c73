package policyd

import (
	"hash/maphash"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// transaction is one message: what Postfix asks with the same instance.
type transaction struct {
	decide  policy.Transaction
	st      *state // as it was at the first request
	key     uint64 // of table; 0: it is in no table
	owner   *conn  // of table.mu, and lost, when it had none any more
	lost    time.Time
	fault   fault // the sender is no address: nothing is decided
	started time.Time
	over    atomic.Bool // Postfix has told of its end

	mu       sync.Mutex // an instance may come over two connections
	keys     []uint64   // of what was asked, in the order of asked
	asked    []asked
	log      slog.Handler
	accepted int
	deferred int // 4yz
	refused  int // 5yz
	known    []*verify.Result
	fields   []string // of the header: all that were asked for
	added    int      // of fields: those that Postfix was told
}

// maxKnown bounds what a transaction keeps of its recipients for Hooks.Relayed: Postfix takes 1000 by
// default (smtpd_recipient_limit).
const maxKnown = 1000

// maxFields bounds the header fields that the rules of all recipients of a message add to it, as in
// package proxy.
const maxFields = 32

// identity is what the requests of one message have in common.
var identity = [...]attribute{
	attrInstance, attrSender, attrClientAddress, attrHelo, attrLogin, attrCertificate, attrProtocol,
}

// keyOf is the name of a message in the table, 0 if it has no instance. The seed is secret, so
// nobody can make up two messages of one name.
func keyOf(seed maphash.Seed, peer netip.Addr, r *request) uint64 {
	if len(r.value(attrInstance)) == 0 {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(seed)
	addr := peer.As16()
	_, _ = h.Write(addr[:])
	for _, a := range identity {
		_, _ = h.Write(r.value(a))
		_ = h.WriteByte('\n') // in no value
	}
	return max(h.Sum64(), 1)
}

// maxBehind is how many questions of one message may go on behind its used-up budget, as in package
// proxy.
const maxBehind = 200

// begin makes the transaction of a request.
func (c *conn) begin(r *request, key uint64) *transaction {
	st := c.srv.state.Load()
	c.n++
	tx := &transaction{st: st, key: key, started: time.Now()}
	mail, ok := parseSender(string(r.value(attrSender)))
	if !ok {
		tx.fault = faultSenderName
	}
	mail.Size, mail.HasSize = r.size, r.size > 0
	tx.decide = policy.Transaction{
		Session: c.id, ID: c.id + "-" + strconv.Itoa(c.n), Door: policy.DoorPolicyd,
		Client: clientOf(r), Mail: mail,
		Budget: verify.NewBudget(st.budget, maxBehind),
	}
	return tx
}

// clientOf is whom Postfix talks to.
func clientOf(r *request) policy.Client {
	client := policy.Client{
		Name: known(string(r.value(attrClientName))), Helo: known(string(r.value(attrHelo))),
		Proto: string(r.value(attrProtocol)), Login: loginOf(r), Trusted: true,
	}
	if a, err := netip.ParseAddr(string(r.value(attrClientAddress))); err == nil {
		client.Addr = a.Unmap().WithZone("")
	}
	if p, err := strconv.ParseUint(string(r.value(attrClientPort)), 10, 16); err == nil {
		client.Port = uint16(p)
	}
	return client
}

// loginOf is the SASL user, else the name in the client's certificate. Postfix sends that only if it
// trusts the certificate, as xtext.
func loginOf(r *request) string {
	if login := r.value(attrLogin); len(login) > 0 {
		return string(login)
	}
	subject := string(r.value(attrCertificate))
	if decoded, err := esmtp.ParseXtext(subject); err == nil {
		return decoded
	}
	return subject
}

// known is a name that Postfix found out, "" if it did not.
func known(name string) string {
	if name == "unknown" {
		return ""
	}
	return name
}

// parseSender reads the sender as the other door does: "" is the null sender. Postfix tells of
// SMTPUTF8 only by the addresses that need it.
func parseSender(s string) (esmtp.Mail, bool) {
	m, err := esmtp.ParseMail("FROM:<" + s + "> SMTPUTF8")
	if err != nil || len(m.Params) != 1 {
		quoted, ok := quote(s)
		if !ok {
			return esmtp.Mail{}, false
		}
		if m, err = esmtp.ParseMail("FROM:<" + quoted + "> SMTPUTF8"); err != nil || len(m.Params) != 1 {
			return esmtp.Mail{}, false
		}
	}
	return esmtp.Mail{From: m.From, UTF8: m.From.NeedsUTF8()}, true
}

// parseRecipient reads a recipient.
func parseRecipient(s string) (esmtp.Rcpt, bool) {
	rcpt, err := esmtp.ParseRcpt("TO:<"+s+">", true)
	if err == nil && len(rcpt.Params) == 0 {
		return rcpt, true
	}
	quoted, ok := quote(s)
	if !ok {
		return esmtp.Rcpt{}, false
	}
	rcpt, err = esmtp.ParseRcpt("TO:<"+quoted+">", true)
	return rcpt, err == nil && len(rcpt.Params) == 0
}

// quote makes a quoted string of the local part of an address: Postfix tells addresses without their
// quotes.
func quote(s string) (quoted string, ok bool) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return "", false
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range at {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	b.WriteString(s[at:])
	return b.String(), true
}
