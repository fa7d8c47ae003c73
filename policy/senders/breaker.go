package senders

import (
	"fmt"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
)

// State is what list hygiene says about a sender.
type State string

// The states, the best first.
const (
	StateOK       State = "ok"
	StateWarn     State = "warn"
	StateThrottle State = "throttle"
	StateHold     State = "hold"
)

// level is a State that can be compared.
type level int

const (
	ok level = iota
	warn
	throttle
	hold
)

// stateNames are the states by level. Read only.
var stateNames = []State{StateOK, StateWarn, StateThrottle, StateHold}

func (l level) state() State { return stateNames[l] }

// Change is a change of a sender's state. From and To are the same when a trial failed.
type Change struct {
	Key                         string // as Release takes it
	Login, Client, SenderDomain string // the login, or else the other two
	From, To                    State
	At                          time.Time
	Until                       time.Time // when the trial begins, for throttle and hold
	Why                         string    // in words
}

// of completes a change with whom it is about.
func (c Change) of(k key) Change {
	c.Key = k.String()
	if k.kind == login {
		c.Login = k.name
	} else {
		c.Client, c.SenderDomain = k.name, k.domain
	}
	return c
}

// tally is the verdicts of a window.
type tally struct{ all, bad window }

func (t *tally) roll(step int64) {
	t.all.roll(step)
	t.bad.roll(step)
}

// add counts a verdict now, to which the tally is rolled.
func (t *tally) add(invalid bool) {
	t.all.add(1)
	if invalid {
		t.bad.add(1)
	}
}

func (t *tally) share() float64 {
	if t.all.sum == 0 {
		return 0
	}
	return float64(t.bad.sum) / float64(t.all.sum)
}

func (t *tally) checks() Checks {
	all, bad := int(t.all.sum), int(t.bad.sum)
	return Checks{
		Recipients: all, Invalid: bad, Share: t.share(), Surely: limit.LowerBound(bad, all),
	}
}

// breaker is the list-hygiene state of one sender. Times are seconds since 1970, 0 for none. The
// shard's lock guards it.
type breaker struct {
	hour, day tally
	recent    recent

	level level
	since int64  // of the level
	until int64  // of throttle and hold: when the trial may begin
	grace int64  // until when nothing above warn follows
	why   string // of the level
	next  int64  // arrival time of the throttle's limit, nanoseconds since 1970

	trial    bool // the rest is over
	tried    int  // verdicts in the trial
	failed   int  // invalid ones
	admitted int  // recipients that the trial let pass in this round
	round    int64
}

// finding is the level that follows from the windows, and from what.
type finding struct {
	level    level
	window   unit
	bad, all uint32
	surely   float64 // 0: it follows from the number alone
}

// String is the finding in words, for people.
func (f finding) String() string {
	if f.surely == 0 {
		return fmt.Sprintf("%d different invalid recipients in the last hour", f.bad)
	}
	return fmt.Sprintf("%d of %d recipients in the last %s are invalid, surely more than %.1f %%",
		f.bad, f.all, f.window, 100*f.surely)
}

func (b *breaker) roll(c clock) {
	b.hour.roll(c.step[hour])
	b.day.roll(c.step[day])
}

// judge finds the level that the windows, rolled to now, call for. It is pure.
func (b *breaker) judge(h *Hygiene) finding {
	worst := finding{}
	if h.Distinct > 0 && int(b.hour.bad.sum) >= h.Distinct {
		return finding{level: hold, window: hour, bad: b.hour.bad.sum, all: b.hour.all.sum}
	}
	for i, t := range [...]*tally{&b.hour, &b.day} {
		all, bad := int(t.all.sum), int(t.bad.sum)
		// The bound is never above the share itself, which is cheaper.
		if all < h.Minimum || float64(bad) <= h.Warn*float64(all) {
			continue
		}
		surely := limit.LowerBound(bad, all)
		l := ok
		switch {
		case surely > h.Hold:
			l = hold
		case surely > h.Throttle:
			l = throttle
		case surely > h.Warn:
			l = warn
		}
		if l > worst.level {
			worst = finding{
				level: l, window: hour + unit(i), bad: t.bad.sum, all: t.all.sum, surely: surely,
			}
		}
	}
	return worst
}

// settle lets happen what time alone brings: the end of a warning, the beginning of a trial, the
// end of the state of a sender that sends nothing.
func (b *breaker) settle(p *plan, c clock) (Change, bool) {
	if b.level == ok || b.level == warn && ahead(b.since+restSeconds, c) ||
		b.level > warn && ahead(b.until, c) {
		return Change{}, false
	}
	b.roll(c)
	switch {
	case b.day.all.sum == 0:
		return b.end(c, "nothing was sent for a day"), true
	case b.level == warn:
		if b.judge(&p.hygiene).level == ok {
			return b.move(c, ok, "the share of invalid recipients has fallen"), true
		}
	case !b.trial:
		// Everybody counts once in the trial, too.
		b.trial, b.tried, b.failed, b.admitted, b.recent = true, 0, 0, 0, recent{}
	}
	return Change{}, false
}

// checked notes a verdict. h is the hash of the recipient.
func (b *breaker) checked(p *plan, c clock, h uint64, invalid bool) (Change, bool) {
	inHour, inDay := b.recent.note(h, invalid, c, p.lines)
	if !inHour && !inDay {
		return Change{}, false
	}
	b.roll(c)
	if inHour {
		b.hour.add(invalid)
	}
	if inDay {
		b.day.add(invalid)
	}
	if b.trial {
		b.tried++
		if invalid {
			b.failed++
		}
		switch {
		case b.failed >= p.fails:
			return b.move(c, b.level, b.trialText()), true
		case b.tried >= trialSize:
			return b.end(c, b.trialText()), true
		}
	}
	f := b.judge(&p.hygiene)
	if f.level > warn && ahead(b.grace, c) {
		f.level = warn
	}
	if f.level <= b.level {
		return Change{}, false
	}
	return b.move(c, f.level, f.String()), true
}

func (b *breaker) trialText() string {
	return fmt.Sprintf("%d of %d recipients of the trial are invalid", b.failed, b.tried)
}

// ahead reports whether a second lies ahead, by an hour at most: what lies further ahead was set
// before the clock was set back.
func ahead(sec int64, c clock) bool { return c.sec < sec && sec-c.sec <= restSeconds }

// move begins a level, or the same level again.
func (b *breaker) move(c clock, to level, why string) Change {
	from := b.level
	b.level, b.since, b.until, b.why, b.trial, b.next = to, c.sec, 0, why, false, 0
	change := Change{From: from.state(), To: to.state(), At: c.time(), Why: why}
	if to >= throttle {
		b.until = c.sec + restSeconds
		change.Until = time.Unix(b.until, 0)
	}
	return change
}

// end forgets everything and begins anew.
func (b *breaker) end(c clock, why string) Change {
	change := b.move(c, ok, why)
	*b = breaker{since: c.sec}
	return change
}

// throttled asks for one recipient of a sender that may send one a second.
func (b *breaker) throttled(c clock) (next time.Time, wait time.Duration, passes bool) {
	rate := limit.Rate{Count: 1, Per: time.Second, Burst: 1}
	return rate.Next(arrival(b.next, c, rate), c.time(), 1)
}

// arrival is the arrival time of a rate's next event, which is never further ahead than its burst
// lasts; if it is, the clock was set back.
func arrival(at int64, c clock, r limit.Rate) time.Time {
	most := int64(r.Per) / int64(r.Count) * int64(r.Burst)
	return time.Unix(0, min(at, c.now+most))
}

// admits says whether a recipient may pass. It changes nothing; the breaker is settled.
func (b *breaker) admits(p *plan, c clock) (HoldKind, time.Duration) {
	if b == nil || !p.holding || b.level < throttle || b.trialHasRoom(c) {
		return Free, 0
	}
	if b.level == throttle {
		if _, wait, passes := b.throttled(c); !passes {
			return Throttled, wait
		}
		return Free, 0
	}
	again := b.until
	if b.trial {
		again = b.round + roundSeconds
	}
	return Held, time.Duration(again*int64(time.Second) - c.now)
}

func (b *breaker) trialHasRoom(c clock) bool {
	return b.trial && (b.admitted < trialSize || b.roundIsOver(c))
}

// roundIsOver: the verdicts of those that were admitted should be there by now.
func (b *breaker) roundIsOver(c clock) bool {
	return c.sec-b.round >= roundSeconds
}

// pass notes a recipient that admits let pass.
func (b *breaker) pass(c clock) {
	switch {
	case b == nil || b.level < throttle:
	case b.trialHasRoom(c):
		if b.admitted == 0 || b.roundIsOver(c) {
			b.round = c.sec
			b.admitted = min(b.tried, trialSize-1)
		}
		b.admitted++
	case b.level == throttle:
		if next, _, passes := b.throttled(c); passes {
			b.next = next.UnixNano()
		}
	}
}
