package verify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// How often an invented recipient may be asked for. The mail server sees one unknown recipient,
// the same one each time within a week; a second look at one that was accepted needs a session of
// its own, for a server that lets pass now and then does so for minutes.
const (
	inventEvery   = 7 * 24 * time.Hour // another name
	inventConfirm = 10 * time.Minute   // the same name again, after it was accepted
	inventFailed  = 3 * time.Hour      // the same name again, after an answer that does not tell
	inventMost    = 3                  // ever, as long as the MX hosts stay
)

// selectiveUpTo is the probability of accept-all below which a domain counts as selective.
const selectiveUpTo = 0.05

// due reports whether an invented recipient of the domain may be asked for, and would tell.
func (d *domainFacts) due(general float64, now time.Time) bool {
	p := d.acceptsAll(general, now)
	since := func(at int64) time.Duration { return now.Sub(time.Unix(at, 0)) }
	switch {
	case p <= selectiveUpTo, p >= acceptsAllFrom, d.tries >= inventMost:
		return false
	case d.tries == 0:
		return true
	case d.invents > 0 && d.invent > d.refused && d.invent >= d.failed:
		return since(d.invent) >= inventConfirm
	case d.failed >= d.tried:
		return since(d.failed) >= inventFailed
	}
	return since(d.tried) >= inventEvery
}

// inventedName is a local part that looks like a person's and surely is nobody's: first name, last
// name and four digits, at most 24 characters of [a-z0-9.]. It depends on the secret, the domain
// and the week only, so that nobody else can tell it, and asking again is asking for the same one.
func inventedName(secret []byte, domain string, now time.Time) string {
	week := now.Unix() / int64(inventEvery/time.Second)
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "recipient nobody has\n%s\n%d", strings.ToLower(domain), week)
	sum := mac.Sum(nil)
	pick := func(list []string, at int) string {
		return list[binary.BigEndian.Uint32(sum[at:])%uint32(len(list))] //nolint:gosec // short lists
	}
	digits := 1000 + binary.BigEndian.Uint32(sum[8:])%9000
	return fmt.Sprintf("%s.%s%d", pick(firstNames(), 0), pick(lastNames(), 4), digits)
}

// The test of a domain runs behind the answer about a recipient, and waits for ordinary mail to
// answer it, unless somebody waits for it. It needs some time within the flight's own.
const (
	testPause = 3 * time.Second
	testTime  = 5 * time.Second
	testShare = 8 // of the flights, as a divisor
)

// wantsTest reports whether the domain of a flight that has landed is to be looked into.
func (v *Verifier) wantsTest(f *flight, now time.Time) bool {
	if f.found.Reason != MailboxExists || f.found.Cached || f.set.cfg.NoInvented ||
		!f.peer.profile.TestsCatchAll(f.q.Address.ASCIIDomain()) ||
		v.guard.open(f.peer.group, now) || !v.due(f, now) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.closed && v.tests[f.q.Address.ASCIIDomain()] == nil &&
		len(v.tests) < max(1, f.set.cfg.MaxFlights/testShare)
}

func (v *Verifier) due(f *flight, now time.Time) bool {
	facts := v.domains.of(f.q.Address.ASCIIDomain(), f.hosts, now)
	return facts.due(f.peer.general(), now)
}

// testDomain asks for an invented recipient and judges the flight's answer anew.
func (v *Verifier) testDomain(ctx context.Context, f *flight) {
	pause := time.NewTimer(testPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-f.hurry:
	case <-v.closing:
		return
	case <-ctx.Done():
		return
	}
	now := time.Now()
	if end, ok := ctx.Deadline(); ok && end.Sub(now) < testTime || !v.due(f, now) {
		return // no time is left, or ordinary mail has told meanwhile
	}
	domain := f.q.Address.ASCIIDomain()
	rcpt, err := esmtp.ParseAddress(inventedName(v.secret, domain, now)+"@"+domain, false)
	if err != nil {
		return
	}
	f.step("invented", rcpt.String()+" cannot exist; whether it is accepted tells of the domain")
	v.domains.note(domain, f.hosts, now, func(d *domainFacts) bool {
		d.tries++
		d.tried = now.Unix()
		return true
	})
	v.counts.tests.Add(1)
	out, class := v.probe(ctx, f, rcpt)
	r := reading(out, class, time.Now())
	v.domains.note(domain, f.hosts, time.Now(), func(d *domainFacts) bool {
		d.invented(r, rcpt.Local(), f.sender.ASCIIDomain())
		return true
	})
	v.standing.learn(f.peer.group, f.peer.profile, r, f.sender, rcpt, time.Now())
	f.final = v.weigh(f, time.Now())
	now = time.Now()
	if e, ok := v.memory.get(f.key, now); ok && e.Value.Checked.Equal(f.final.Checked) {
		f.keep(v, &f.final, now)
	}
}

// invented notes what became of an invented recipient.
func (d *domainFacts) invented(r Result, local, sender string) {
	switch r.Reason {
	case MailboxExists:
		if d.invent <= d.refused {
			d.invents = 0
		}
		d.invents++
		d.invent = r.Checked.Unix()
	case MailboxUnknown:
		d.refuse(local, sender, r.Checked)
	case LocalLimit, Closing: // it was not asked
		d.tries--
		d.failed = d.tried
	default: // 4xx, 5.7.x, a timeout: no evidence
		d.failed = d.tried
	}
}

// describe tells people what is known of a domain, with its numbers.
func (d *domainFacts) describe(general float64, now time.Time) string {
	r := d.report(general, now)
	if r == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "accepts every address with probability %.3f (%.2f before anything was known)",
		r.AcceptsAll, general)
	if !r.Refused.IsZero() {
		fmt.Fprintf(&b, "; a mailbox was refused as unknown %v ago", now.Sub(r.Refused).Round(time.Second))
	}
	if r.Tries > 0 {
		fmt.Fprintf(&b, "; invented recipients: %d asked for, %d accepted", r.Tries, r.Invented)
	}
	if r.Accepted > 0 {
		fmt.Fprintf(&b, "; about %d different recipients accepted without a refusal", r.Accepted)
	}
	if r.Late > 0 || r.Arrived > 0 {
		fmt.Fprintf(&b, "; mail: %d delivered, %d refused after it was sent", r.Arrived, r.Late)
	}
	return b.String()
}

// The names are common ones in the languages that most mail is in, none longer than nine letters.

func firstNames() []string {
	return strings.Fields(`
		adam alice amelie andrea anna anton beatrix benjamin camille carla carlos caroline chiara
		christine claire clara daniel david diego elena elisa emil emma erik eva fabian felix
		fiona francois gabriel georg giulia hannah helen henrik ines irene isabel jakob jan jana
		jonas josef julia karin karl katarina laura lena leon linda lisa louis lucas lucia luisa
		magda marco maria marie mario markus marta martin mateo max mia michael miguel monika
		nadia nina nora olivia oscar pablo paul paula pedro peter petra philipp rafael robert
		rosa samuel sandra sara simon sofia stefan susanne teresa thomas tobias valeria vera
		victor vincent walter wanda yvonne`)
}

func lastNames() []string {
	return strings.Fields(`
		adler albrecht almeida andersen baker bauer becker bergmann bianchi blanc bonnet brandt
		carter castro chevalier colombo conti costa david dietrich duarte dubois engel esposito
		fabre ferrari fischer fontaine franke garcia gauthier gruber haas hansen hartmann hofbauer
		hoffman huber jensen johansson keller kowalski kramer kruger lambert larsen laurent lehmann
		lopez lorenz marino marques martens meyer moreau moreno moser muller navarro nielsen nowak
		olsen ortega parker pereira petersen picard pichler ramos reyes ricci richter romano rossi
		roussel santos schmidt schubert silva simmons sommer steiner taylor torres vasquez vidal
		vogel wagner walker weber winkler wolf zimmer`)
}
