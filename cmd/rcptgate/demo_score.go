package main

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// demoClass is what the truth says of a recipient, as far as the gate is judged by it.
type demoClass int

const (
	demoGood    demoClass = iota // can receive: must be accepted
	demoCertain                  // never can, and it is there to be found out: must be refused
	demoOpen                     // never can, but nobody can know before the message is sent
	demoTrouble                  // cannot receive now, or it is not ours to ask
)

// demoRow is one recipient: what the client was told, what the gate logged, and the truth.
type demoRow struct {
	rcpt  string
	reply esmtp.Reply
	line  demoRecord
	truth demoClass
}

// truth classes a recipient. The relay's own domains and local names are not asked about, and not
// the gate's business.
func (d *demo) truth(rcpt string) demoClass {
	domain := rcpt[bytes.LastIndexByte([]byte(rcpt), '@')+1:]
	if slices.Contains(demoInternal(), domain) || domain == "office.local" {
		return demoTrouble
	}
	t := d.world.Truth(rcpt)
	switch {
	case d.bounced[rcpt]:
		return demoCertain // by now it has been told
	case t.Receives:
		return demoGood
	case t.Provable:
		return demoCertain
	case t.Never:
		return demoOpen
	default:
		return demoTrouble
	}
}

// demoScore compares what happened with the truth.
type demoScore struct {
	rows []demoRow
	sent []*demoSent

	relayed int      // messages at the relay as they were sent, to whom they were sent
	wrong   []string // what the relay should have otherwise
}

func (s *demoScore) add(r demoRow) { s.rows = append(s.rows, r) }

// count returns the recipients of a class, and how many of them the gate refused.
func (s *demoScore) count(class demoClass) (all, refused int) {
	for _, r := range s.rows {
		if r.truth == class {
			all++
			if !r.reply.Positive() {
				refused++
			}
		}
	}
	return all, refused
}

// demoDoubt is a reason for which recipients passed without being known to be good.
type demoDoubt struct {
	reason         verify.Reason
	all, good, bad int // good: they can receive; bad: they never can
}

// doubts counts who passed though nothing proved them good, and those of whom the gate was told
// that they are good but who are not; the most frequent reason first.
func (s *demoScore) doubts() []demoDoubt {
	var doubts []demoDoubt
	for _, r := range s.rows {
		misled := r.truth == demoOpen || r.truth == demoCertain
		if !r.reply.Positive() || (r.line["verdict"] == string(verify.Deliverable) && !misled) {
			continue
		}
		reason := verify.Reason(r.line["reason"])
		i := slices.IndexFunc(doubts, func(d demoDoubt) bool { return d.reason == reason })
		if i < 0 {
			i = len(doubts)
			doubts = append(doubts, demoDoubt{reason: reason})
		}
		doubts[i].all++
		doubts[i].good += count(r.truth == demoGood)
		doubts[i].bad += count(misled)
	}
	slices.SortStableFunc(doubts, func(a, b demoDoubt) int { return b.all - a.all })
	return doubts
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// relay compares the messages at the relay with those that were sent: one for each message with a
// recipient, to the recipients that were taken and no other, octet by octet.
func (s *demoScore) relay(got []mxsim.Message) {
	for i, sent := range s.sent {
		var with []mxsim.Message
		for _, m := range got {
			if sent.body != nil && bytes.Equal(m.Body, sent.body) {
				with = append(with, m)
			}
		}
		switch {
		case sent.body == nil:
		case len(with) != 1:
			s.wrong = append(s.wrong, fmt.Sprintf("message %d is %d times at the relay, octet by octet",
				i+1, len(with)))
		case with[0].From != sent.mail.sender:
			s.wrong = append(s.wrong, fmt.Sprintf("message %d came to the relay from %q",
				i+1, with[0].From))
		case !slices.Equal(with[0].Rcpts, sent.taken):
			s.wrong = append(s.wrong, fmt.Sprintf("message %d came to the relay for %q, not %q",
				i+1, with[0].Rcpts, sent.taken))
		default:
			s.relayed++
		}
	}
	if want := s.messages(); len(got) != want {
		s.wrong = append(s.wrong, fmt.Sprintf("%d messages are at the relay, not %d", len(got), want))
	}
}

// messages is how many messages the relay must have: those with a recipient left.
func (s *demoScore) messages() int {
	n := 0
	for _, sent := range s.sent {
		if len(sent.taken) > 0 {
			n++
		}
	}
	return n
}

// faults are the reasons for exit code 1.
func (s *demoScore) faults() []string {
	var faults []string
	for _, r := range s.rows {
		switch {
		case r.truth == demoGood && !r.reply.Positive():
			faults = append(faults, fmt.Sprintf("good recipient %s was refused: %v", r.rcpt, r.reply))
		case r.truth == demoCertain && r.reply.Positive():
			faults = append(faults, fmt.Sprintf(
				"%s does not exist, which can be known, and was let through: %s", r.rcpt, r.line["reason"]))
		}
	}
	return append(faults, s.wrong...)
}

// demoEtiquette is how the gate behaved towards the simulated mail servers; what the relay delivered
// is left out.
type demoEtiquette struct {
	connections, asked, messages int
	rude                         []string // hosts that were left without QUIT
}

func (d *demo) etiquette() demoEtiquette {
	var e demoEtiquette
	all, relay := d.world.Tally(), d.delivery.Tally()
	for name, t := range all {
		e.connections += t.Connections - relay[name].Connections
		e.asked += t.Rcpts - relay[name].Rcpts
		e.messages += t.Messages - relay[name].Messages
		if t.Rude > relay[name].Rude {
			e.rude = append(e.rude, name)
		}
	}
	slices.Sort(e.rude)
	return e
}
