package register

import (
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

const (
	day = 24 * 3600 // in seconds

	// A first bounce suppresses for firstTime, one more, not longer than probation after that, for
	// secondTime, and a third for good.
	firstTime  = 30 * day
	secondTime = 180 * day
	probation  = 90 * day

	// learnedSource is the Source of what was learned.
	learnedSource = "feedback"

	// maxUnkept bounds the keys that wait to be written. If there are more, who learns waits for
	// the disk, and nothing is learned while it does not take them.
	maxUnkept = 10_000
)

// learned is the keys of what was learned and is not written yet. It is written as it is by then.
type learned struct {
	mu   sync.Mutex
	keys map[string]struct{}
	lost int // how much was not learned, since there was no room
}

func (l *learned) room() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.keys) < maxUnkept
}

func (l *learned) lose() {
	l.mu.Lock()
	l.lost++
	l.mu.Unlock()
}

func (l *learned) add(key string) {
	l.mu.Lock()
	l.keys[key] = struct{}{}
	l.mu.Unlock()
}

// Bounced learns that a real delivery to addr was refused: evidence is the reply of its mail
// server, which the caller has judged to be proof that there is no such mailbox. Replies that
// cannot be (not 5xx, or with an enhanced code such as 5.7.x that is about the sender, the message
// or the server) are passed over all the same.
//
// The first bounce suppresses for 30 days, everybody's mail; one within 90 days after that for 180
// days, and a third for good. A bounce while the address is suppressed, for whatever reason,
// changes nothing.
//
// It does not wait for the disk, unless ten thousand others do already.
func (r *Register) Bounced(addr esmtp.Address, evidence esmtp.Reply, at time.Time) {
	if r == nil || !r.cfg.Load().LearnBounces || notProof(evidence.Code, evidence.Enhanced()) != "" {
		return
	}
	r.learn(addr, Scope{}, false, func(old *record) *Suppression {
		when := at.Unix()
		s := &Suppression{
			Reason:   HardBounce,
			Code:     evidence.Code,
			Enhanced: evidence.Enhanced(),
			Evidence: evidence.String(),
			Bounces:  1,
			Created:  at,
		}
		if old != nil {
			if old.inForce(when) || when < old.created {
				return nil
			}
			if old.remembered(when) {
				s.Bounces = min(int(old.bounces)+1, 100)
			}
		}
		switch s.Bounces {
		case 1:
			s.Expires = at.Add(firstTime * time.Second)
		case 2:
			s.Expires = at.Add(secondTime * time.Second)
		default:
		}
		return s
	})
}

// Complained learns that the recipient addr called a mail of this sender spam. That suppresses all
// mail from the sender's domain to addr, for good; everybody's, for the null sender. A suppression
// that says as much, because of a complaint or an unsubscription or by hand, stays as it is. It
// waits for no disk.
func (r *Register) Complained(addr, sender esmtp.Address) {
	if r == nil || !r.cfg.Load().LearnComplaints {
		return
	}
	scope := Scope{}
	if domain := sender.ASCIIDomain(); domain != "" {
		scope = Scope{SenderDomain, domain}
	}
	now := time.Now()
	r.learn(addr, scope, true, func(old *record) *Suppression {
		if old != nil && old.inForce(now.Unix()) &&
			(old.reason == complaint || old.reason == unsubscribe || old.reason == manual) {
			return nil
		}
		return &Suppression{Reason: Complaint, Created: now}
	})
}

// Delivered learns that mail was delivered to addr at its own mail server, after it had judged the
// recipient: not that a relay took it, nor that a domain did which takes every recipient. That
// ends, and forgets, a hard bounce from before; no other reason, and no wildcard. For an address
// that is not suppressed it costs a look-up.
func (r *Register) Delivered(addr esmtp.Address, at time.Time) {
	if r == nil || addr.ASCIIDomain() == "" || r.table.present[Global][mailbox].Load() == 0 {
		return
	}
	var room [keyRoom]byte
	ends := func(old *record) bool {
		return old != nil && old.reason == hardBounce && at.Unix() > old.created
	}
	rec := r.table.get(appendAddress(room[:0], addr))
	if !ends(rec) || !r.room() {
		return
	}
	key := rec.key()
	r.table.replace(key, at.Unix(), false, func(old *record) *record {
		if ends(old) {
			return nil
		}
		return old
	})
	r.unkept.add(key)
	r.wakeUp()
}

// room reports whether one more may be learned.
func (r *Register) room() bool {
	if r.unkept.room() {
		return true
	}
	if r.store.trouble.Load() == nil {
		_ = r.flush() // then there is trouble
	}
	if r.unkept.room() {
		return true
	}
	r.unkept.lose()
	return false
}

// learn makes what decide says of a mailbox's suppression: nil is no change.
func (r *Register) learn(
	addr esmtp.Address, scope Scope, folded bool, decide func(old *record) *Suppression,
) {
	if addr.ASCIIDomain() == "" {
		return
	}
	var room [keyRoom]byte
	address := appendAddress(room[:0], addr)
	text := string(address)
	if folded {
		fold(address, len(address)-len(addr.ASCIIDomain())-1)
	}
	key := string(appendScope(address, scope.Kind, scope.Name))
	now := time.Now().Unix()
	if decide(r.table.get([]byte(key))) == nil || !r.room() {
		return
	}
	learnt := false
	r.table.replace(key, now, false, func(old *record) *record {
		s := decide(old)
		if s == nil {
			return old
		}
		s.Address, s.Scope, s.Source = text, scope, learnedSource
		rec, err := newRecord(s)
		if err != nil || !rec.remembered(now) {
			return old // a time that cannot be, or one long ago
		}
		if old == nil && r.table.total.Load() >= int64(r.cfg.Load().maxEntries()) {
			r.unkept.lose()
			return old
		}
		learnt = true
		return rec
	})
	if learnt {
		r.unkept.add(key)
		r.wakeUp()
	}
}
