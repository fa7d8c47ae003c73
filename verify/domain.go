package verify

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// domainFacts is what is known of one recipient domain behind one set of mail hosts. It holds
// whether those accept every address at RCPT (then a 250 says nothing of the mailbox) and what
// speaks for it. Times are Unix seconds, 0 is never.
type domainFacts struct {
	hosts uint64 // hashSet of the MX hosts; 0: not known yet

	refused int64  // a refusal of one mailbox at RCPT, the last one
	first   int64  // ... of one that had not been greylisted before
	sender  uint32 // hashes of the sender's domain then, and of the local part
	whose   uint32
	grey    uint64 // a bit for each local part that was greylisted

	accepted [seenWords]uint64 // a bit for each local part that was accepted

	late    uint16 // accepted at RCPT, and refused as unknown after the message
	lateAt  int64
	arrived uint16 // messages that were delivered

	tries   uint8 // invented recipients asked for, with these hosts
	tried   int64
	failed  int64 // the last of them got no answer that tells
	invents uint8 // invented ones that were accepted since the last refusal
	invent  int64 // the last of those
}

const (
	seenWords = 4
	seenBits  = 64 * seenWords

	factsHalf = 30 * 24 * time.Hour // after which what is known of a domain is worth half
	factsKeep = 90 * 24 * time.Hour
	factsSize = 32_768 // domains in memory
)

// The statistics of accept-all domains, see acceptsAll.
const (
	priorAcceptAll = 0.25 // of all domains; what is published runs from 9 to 60 %
	strayRefusal   = 0.01 // of an accept-all domain: it refuses a mailbox as unknown all the same
	unknownShare   = 0.03 // of the recipients of ordinary mail do not exist
	naturalMost    = 3.0  // ln 20: what natural traffic alone can say for accept-all
)

// strayAccepts is the probability that a selective domain accepts k invented recipients. Half of
// the servers are taken to do so once in 100, half once in 20 (their directory is slow or down,
// and they let pass), so that a second one tells less than twice as much: the mean of s^k.
func strayAccepts(k int) float64 {
	return (math.Pow(0.01, float64(k)) + math.Pow(0.05, float64(k))) / 2
}

// acceptsAll is the probability that the domain accepts every address, by Bayes, from what is so
// in general:
//
//   - one refusal of a mailbox as unknown proves that it is selective, whatever it accepted before;
//   - 1, 2, 3 invented recipients that were accepted since make 0.917, 0.996, 0.9998 of 0.25. So do
//     those that were accepted at RCPT and refused after the message, which did not exist either;
//   - many different recipients of ordinary mail without a refusal: odds up to 20 to 1 more, which
//     it takes about 100 for.
//
// All of it fades.
func (d *domainFacts) acceptsAll(general float64, now time.Time) float64 {
	odds := logit(general)
	if d.refused > 0 {
		odds += math.Log(strayRefusal) * d.fade(d.refused, now)
	} else {
		odds += min(-math.Log1p(-unknownShare)*d.distinct(), naturalMost)
	}
	if k, at := d.strays(); k > 0 {
		odds -= math.Log(strayAccepts(k)) * d.fade(at, now)
	}
	return sigmoid(odds)
}

// strays counts addresses that do not exist and were accepted since the last refusal.
func (d *domainFacts) strays() (k int, last int64) {
	if d.invent > d.refused {
		k, last = int(d.invents), d.invent
	}
	if d.lateAt > d.refused {
		k, last = k+int(d.late), max(last, d.lateAt)
	}
	return min(k, 3), last
}

func (d *domainFacts) fade(at int64, now time.Time) float64 {
	age := now.Sub(time.Unix(at, 0))
	if age <= 0 {
		return 1
	}
	return math.Exp2(-float64(age) / float64(factsHalf))
}

// distinct estimates how many different recipients were accepted (linear counting).
func (d *domainFacts) distinct() float64 {
	set := 0
	for _, w := range d.accepted {
		set += bits.OnesCount64(w)
	}
	free := max(seenBits-set, 1)
	return -seenBits * math.Log(float64(free)/seenBits)
}

func bitOf(local string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(local))
	return h.Sum64()
}

// accept notes that local was accepted; false if that changes nothing.
func (d *domainFacts) accept(local string) bool {
	bit := bitOf(local) % seenBits
	word, mask := &d.accepted[bit/64], uint64(1)<<(bit%64)
	fresh := *word&mask == 0
	*word |= mask
	return fresh
}

// greylist notes that local was greylisted.
func (d *domainFacts) greylist(local string) bool {
	mask := uint64(1) << (bitOf(local) % 64)
	fresh := d.grey&mask == 0
	d.grey |= mask
	return fresh
}

// refuse notes a clean refusal of local as unknown, to mail from the sender's domain.
func (d *domainFacts) refuse(local, sender string, at time.Time) {
	d.refused = max(d.refused, at.Unix())
	if d.grey&(1<<(bitOf(local)%64)) == 0 {
		d.first, d.sender, d.whose = at.Unix(), shortBits(sender), shortBits(local)
	}
	d.invents, d.invent, d.late, d.lateAt = 0, 0, 0, 0
	d.accepted = [seenWords]uint64{}
}

// refusesFirst reports whether the server has lately refused another mailbox of the domain as unknown
// at its first contact, to the same sender. Where it greylists this one, it exists: Postfix looks
// the recipient up before it heeds the greylist (smtpd_reject_unlisted_recipient).
func (d *domainFacts) refusesFirst(local, sender string, now time.Time) bool {
	const lately = 7 * 24 * time.Hour
	return d.first > 0 && d.sender == shortBits(sender) && d.whose != shortBits(local) &&
		now.Sub(time.Unix(d.first, 0)) < lately
}

func shortBits(s string) uint32 { return uint32(bitOf(s)) } //nolint:gosec // a hash

// hashSet is a hash of the names of a domain's mail hosts, whatever their order; never 0.
func hashSet(set mx.Set) uint64 {
	names := make([]string, len(set.Hosts))
	for i, h := range set.Hosts {
		names[i] = strings.ToLower(h.Name)
	}
	slices.Sort(names)
	return max(bitOf(strings.Join(names, "\n")), 1)
}

// behind returns the facts as far as they hold for these hosts: others are another domain's.
func (d domainFacts) behind(hosts uint64) domainFacts {
	if d.hosts != 0 && hosts != 0 && d.hosts != hosts {
		d = domainFacts{}
	}
	if hosts != 0 {
		d.hosts = hosts
	}
	return d
}

// domains is the memory of domain facts.
type domains struct{ kept *kept[domainFacts] }

func newDomains(store *cache.Store) *domains {
	return &domains{kept: newKept(factsSize, store, keptCodec[domainFacts]{
		bucket: cache.Domains, life: factsKeep, append: appendFacts, read: readFacts,
		key: func(store *cache.Store, domain string) []byte {
			at := store.DomainKey(domain)
			return at[:]
		},
	})}
}

// of returns what is known of domain behind these hosts (0: whichever).
func (d *domains) of(domain string, hosts uint64, now time.Time) domainFacts {
	f, _ := d.kept.get(domain, now)
	return f.behind(hosts)
}

// note changes what is known; change returns false if it changed nothing worth keeping.
func (d *domains) note(domain string, hosts uint64, now time.Time, change func(*domainFacts) bool) {
	d.kept.update(domain, now, func(old domainFacts, _ bool) (domainFacts, bool) {
		f := old.behind(hosts)
		return f, change(&f)
	})
}

const (
	factsVersion = 1
	factsOctets  = 1 + 8 + 8 + 8 + 4 + 4 + 8 + 8*seenWords + 2 + 8 + 2 + 1 + 8 + 8 + 1 + 8
)

func appendFacts(d domainFacts, b []byte) []byte {
	be := binary.BigEndian
	b = append(b, factsVersion)
	b = be.AppendUint64(b, d.hosts)
	b = be.AppendUint64(b, uint64(d.refused)) //nolint:gosec // times, and back in readFacts
	b = be.AppendUint64(b, uint64(d.first))   //nolint:gosec // as above
	b = be.AppendUint32(b, d.sender)
	b = be.AppendUint32(b, d.whose)
	b = be.AppendUint64(b, d.grey)
	for _, w := range d.accepted {
		b = be.AppendUint64(b, w)
	}
	b = be.AppendUint16(b, d.late)
	b = be.AppendUint64(b, uint64(d.lateAt)) //nolint:gosec // as above
	b = be.AppendUint16(b, d.arrived)
	b = append(b, d.tries)
	b = be.AppendUint64(b, uint64(d.tried))  //nolint:gosec // as above
	b = be.AppendUint64(b, uint64(d.failed)) //nolint:gosec // as above
	b = append(b, d.invents)
	return be.AppendUint64(b, uint64(d.invent)) //nolint:gosec // as above
}

func readFacts(b []byte) (d domainFacts, ok bool) {
	if len(b) != factsOctets || b[0] != factsVersion {
		return domainFacts{}, false
	}
	be, at := binary.BigEndian, 1
	u64 := func() uint64 { at += 8; return be.Uint64(b[at-8:]) }
	sec := func() int64 { return max(int64(u64()), 0) } //nolint:gosec // garbage becomes never
	u32 := func() uint32 { at += 4; return be.Uint32(b[at-4:]) }
	u16 := func() uint16 { at += 2; return be.Uint16(b[at-2:]) }
	u8 := func() uint8 { at++; return b[at-1] }
	d.hosts, d.refused, d.first = u64(), sec(), sec()
	d.sender, d.whose = u32(), u32()
	d.grey = u64()
	for i := range d.accepted {
		d.accepted[i] = u64()
	}
	d.late, d.lateAt, d.arrived = u16(), sec(), u16()
	d.tries, d.tried, d.failed = u8(), sec(), sec()
	d.invents, d.invent = u8(), sec()
	return d, true
}

// DomainReport is what is known of a domain, for people and rules.
type DomainReport struct {
	// AcceptsAll is the probability, 0 to 1, that the domain accepts every address at RCPT.
	AcceptsAll float64
	// Refused is when a mailbox was last refused as unknown at RCPT; zero: not within memory.
	Refused time.Time
	// Accepted is about how many different recipients were accepted since.
	Accepted int
	// Invented recipients asked for so far, and how many of them were accepted since Refused.
	Tries, Invented int
	// Late is how many were accepted at RCPT and refused after the message, Arrived how many
	// messages were delivered.
	Late, Arrived int
	Tested        time.Time // when an invented recipient was last asked for; zero: never
}

func (d *domainFacts) report(general float64, now time.Time) *DomainReport {
	if *d == (domainFacts{hosts: d.hosts}) {
		return nil
	}
	r := &DomainReport{
		AcceptsAll: d.acceptsAll(general, now), Refused: unixTime(d.refused),
		Accepted: int(math.Round(d.distinct())), Tries: int(d.tries), Late: int(d.late),
		Arrived: int(d.arrived), Tested: unixTime(d.tried),
	}
	if d.invent > d.refused {
		r.Invented = int(d.invents)
	}
	return r
}
