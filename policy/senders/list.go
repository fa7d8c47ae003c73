package senders

import (
	"cmp"
	"slices"
	"time"
)

// Counters are what rules may ask about a sender. The windows are those of limits.
type Counters struct {
	MessagesMinute, MessagesHour, MessagesDay       int
	RecipientsMinute, RecipientsHour, RecipientsDay int

	Invalid     float64 // share of the recipients checked in the last day, 0 to 1
	InvalidHour int     // different invalid recipients in the last hour
	State       State
}

// Counters returns what was counted for the sender of id, with the present recipient if it was
// taken before. The State of a sender that nothing is known about, and of a nil Table, is "ok".
func (t *Table) Counters(id Identity, now time.Time) Counters {
	none := Counters{State: StateOK}
	if t == nil {
		return none
	}
	p, c := t.plan.Load(), clockAt(now)
	k, known := whoIs(id)
	if !known {
		return none
	}
	hash := t.hash(k)
	s := t.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.known(k, hash)
	if a == nil {
		return none
	}
	a.refresh(p, c)
	return a.counters(p, c)
}

// counters reads the rolled windows of a. It brings no change of state.
func (a *account) counters(p *plan, c clock) Counters {
	m, r := &a.counts[messages], &a.counts[recipients]
	n := Counters{
		MessagesMinute: int(m[minute].sum), MessagesHour: int(m[hour].sum),
		MessagesDay:      int(m[day].sum),
		RecipientsMinute: int(r[minute].sum), RecipientsHour: int(r[hour].sum),
		RecipientsDay: int(r[day].sum),
		State:         StateOK,
	}
	if b := a.breaker; b != nil && p.watching {
		b.roll(c)
		n.Invalid, n.InvalidHour, n.State = b.day.share(), int(b.hour.bad.sum), b.level.state()
	}
	return n
}

// Checks are the verdicts of a window.
type Checks struct {
	Recipients, Invalid int // different ones
	Share               float64
	Surely              float64 // the share is surely above it: what the breaker goes by
}

// Status is one sender for people.
type Status struct {
	Key                         string // as Release takes it
	Login, Client, SenderDomain string // the login, or else the other two
	Counters
	Hour, Day Checks

	Since  time.Time // of the state; the zero time if no verdict was used yet
	Until  time.Time // when the trial begins; the zero time if there is none to come
	Grace  time.Time // end of the grace that Release gave; the zero time if it is over
	Why    string    // of the state, in words
	Active time.Time // when it last sent

	// Trial: the rest is over, and the first recipients decide: so many verdicts of 20 there are,
	// so many of them invalid.
	Trial                     bool
	TrialChecked, TrialFailed int

	level level // of State
}

// List returns the senders that are known, the worst first: by state, by the share of invalid
// recipients in the worse window, by recipients in a day, by key. It is cut behind most; 0 for all.
func (t *Table) List(now time.Time, most int) []Status {
	if t == nil || t.Len() == 0 {
		return nil
	}
	p, c := t.plan.Load(), clockAt(now)
	var list []Status
	for i := range t.shards {
		list = t.shards[i].list(list, p, c)
		if most > 0 && len(list) > 2*most+shardCount { // so as not to hold them all
			list = sorted(list, most)
		}
	}
	return sorted(list, most)
}

// sorted is list, the worst first, cut behind most.
func sorted(list []Status, most int) []Status {
	order := make([]*Status, len(list)) // a Status is large
	for i := range list {
		order[i] = &list[i]
	}
	slices.SortFunc(order, worse)
	if most > 0 && len(order) > most {
		order = order[:most]
	}
	cut := make([]Status, len(order))
	for i, st := range order {
		cut[i] = *st
	}
	return cut
}

// worse is the order of List.
func worse(a, b *Status) int {
	if a.level != b.level {
		return int(b.level - a.level)
	}
	if n := cmp.Compare(max(b.Hour.Surely, b.Day.Surely), max(a.Hour.Surely, a.Day.Surely)); n != 0 {
		return n
	}
	if a.RecipientsDay != b.RecipientsDay {
		return b.RecipientsDay - a.RecipientsDay
	}
	return cmp.Compare(a.Key, b.Key)
}

// States returns how many senders are in each state, for metrics. All states are in it.
func (t *Table) States() map[State]int {
	n := make(map[State]int, len(stateNames))
	for _, state := range stateNames {
		n[state] = 0
	}
	if t == nil {
		return n
	}
	for i := range t.shards {
		t.shards[i].states(n)
	}
	return n
}

func (s *shard) states(n map[State]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		switch {
		case a.key.kind != login && a.key.kind != pair:
		case a.breaker == nil:
			n[StateOK]++
		default:
			n[a.breaker.level.state()]++
		}
	}
}

// list appends the senders of s. Accounts that are only there for a limit are none.
func (s *shard) list(list []Status, p *plan, c clock) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.key.kind == login || a.key.kind == pair {
			a.refresh(p, c)
			list = append(list, a.status(p, c))
		}
	}
	return list
}

func (a *account) status(p *plan, c clock) Status {
	who := Change{}.of(a.key)
	st := Status{
		Key: who.Key, Login: who.Login, Client: who.Client, SenderDomain: who.SenderDomain,
		Counters: a.counters(p, c), Active: time.Unix(a.active, 0),
	}
	b := a.breaker
	if b == nil || !p.watching {
		return st
	}
	st.level, st.Hour, st.Day = b.level, b.hour.checks(), b.day.checks()
	st.Since, st.Why = time.Unix(b.since, 0), b.why
	if b.level > warn && ahead(b.until, c) {
		st.Until = time.Unix(b.until, 0)
	}
	if ahead(b.grace, c) {
		st.Grace = time.Unix(b.grace, 0)
	}
	if b.trial {
		st.Trial, st.TrialChecked, st.TrialFailed = true, b.tried, b.failed
	}
	return st
}
