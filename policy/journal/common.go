package journal

import (
	"hash/maphash"
	"net/netip"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// origin is what all entries of a transaction have in common. It does not change.
type origin struct {
	session, id string
	door        string
	addr        netip.Addr // of the client, as are:
	name, helo  string
	login       string
	sender      esmtp.Address
	octets      int // of its texts
}

func newOrigin(tx *policy.Transaction) *origin {
	c := &tx.Client
	o := &origin{
		session: tx.Session, id: tx.ID, door: doorOf(tx), addr: c.Addr, name: c.Name, helo: c.Helo,
		login: c.Login, sender: tx.Mail.From,
	}
	o.octets = len(o.session) + len(o.id) + len(o.name) + len(o.helo) + len(o.login) +
		2*len(o.sender.Domain()) + len(o.sender.Local())
	return o
}

func doorOf(tx *policy.Transaction) string {
	if tx.Door == "" {
		return policy.DoorSMTP
	}
	return tx.Door
}

// is reports whether o is that of tx. Texts of one transaction are the same octets in memory, so
// that this looks at hardly any.
func (o *origin) is(tx *policy.Transaction) bool {
	c := &tx.Client
	return o.id == tx.ID && o.session == tx.Session && o.door == doorOf(tx) && o.addr == c.Addr &&
		o.name == c.Name && o.helo == c.Helo && o.login == c.Login && o.sender == tx.Mail.From
}

// said is what many results have in common. It does not change.
type said struct {
	verdict      verify.Verdict
	reason       verify.Reason
	provider, mx string
	stage        reply.Stage
	label        reply.Label
	catchAll     bool
	proof        bool
}

func (s *said) is(r *verify.Result) bool {
	return s.mx == r.MX && s.verdict == r.Verdict && s.reason == r.Reason &&
		s.provider == r.Provider && s.stage == r.Stage && s.label == r.Label &&
		s.catchAll == r.CatchAll && s.proof == r.Proof
}

// How many of them are kept for the next entries. Those that find their place taken are made anew.
const (
	commonOrigins = 64
	commonSaid    = 256
)

// common finds what entries have in common with earlier ones. Journal.in guards it.
type common struct {
	seed    maphash.Seed
	origins [commonOrigins]*origin
	saids   [commonSaid]*said
}

func (c *common) origin(tx *policy.Transaction) *origin {
	place := &c.origins[maphash.String(c.seed, tx.ID)%commonOrigins]
	if *place == nil || !(*place).is(tx) {
		*place = newOrigin(tx)
	}
	return *place
}

func (c *common) said(r *verify.Result) *said {
	hash := maphash.String(c.seed, r.MX) + uint64(len(r.Reason)) + uint64(len(r.Provider))<<4
	place := &c.saids[hash%commonSaid]
	if *place == nil || !(*place).is(r) {
		*place = &said{
			verdict: r.Verdict, reason: r.Reason, provider: r.Provider, mx: r.MX, stage: r.Stage,
			label: r.Label, catchAll: r.CatchAll, proof: r.Proof,
		}
	}
	return *place
}
