package bulk

import (
	"time"

	"github.com/rcptgate/rcptgate/verify"
)

const (
	// greylistSlack is added to the time that a server wants: some compare seconds.
	greylistSlack = 10 * time.Second
	// breakerPoll is how often is tried whether mail servers can be reached again.
	breakerPoll = 15 * time.Second
)

// take takes up the result of a question. cut tells that it was cut off.
func (r *Run) take(j job, result verify.Result, cut bool) {
	now := time.Now()
	switch {
	case cut && result.Verdict == verify.Unknown:
		return // it was asked about, and nobody knows more; that is what the journal says
	case unlucky(result):
		r.giveBack(j, result, now)
	case result.Verdict == verify.Unknown && result.Reason == verify.Greylisted && r.askLater(j, result, now):
	default:
		r.conclude(j, answerOf(result, now), result.RetryAfter, now)
	}
}

// unlucky reports whether nobody was asked, because of a limit of ours or of a pause.
func unlucky(r verify.Result) bool {
	switch r.Reason {
	case verify.LocalLimit, verify.Breaker, verify.Closing:
		return true
	case verify.RateLimited, verify.BlockedIP:
		return r.Cached
	default:
		return false
	}
}

// giveBack has the question asked another time.
func (r *Run) giveBack(j job, result verify.Result, now time.Time) {
	if j.lane.site.Key != "" && !r.log(numberLine(lineBack, j.item)) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.back(j.item)
	t := r.turns
	switch result.Reason {
	case verify.Closing:
	case verify.Breaker:
		if r.cutOff.IsZero() {
			r.cutOff = now
		}
		t.held = now.Add(breakerPoll)
		if now.Sub(r.cutOff) > max(r.cfg.Patience, pauseMost) {
			r.fault = ErrCutOff
			r.end()
		}
	default:
		t.missed(j.lane, result.Reason, result.RetryAfter, now)
	}
	t.put(j.lane, j.item, now)
	t.left(j.lane, now)
}

// askLater waits for a greylist. It reports false if that takes too long.
func (r *Run) askLater(j job, result verify.Result, now time.Time) bool {
	r.mu.Lock()
	first := r.state.since(j.item)
	r.mu.Unlock()
	again := !first.IsZero()
	if !again {
		first = now
	}
	due := now.Add(max(result.RetryAfter, time.Minute) + greylistSlack)
	if due.Sub(first) > r.cfg.Patience {
		return false
	}
	if !r.log(laterLine(j.item, first, due)) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !again {
		r.counts.Waiting++
	}
	r.state.later(j.item, first, due)
	r.cutOff = time.Time{}
	r.turns.passed(j.lane)
	r.turns.putAt(j.lane, j.item, due)
	r.turns.left(j.lane, now)
	return true
}

// conclude takes up an answer.
func (r *Run) conclude(j job, a Answer, retry time.Duration, now time.Time) {
	if !r.log(answerLine(j.item, &a)) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.state.since(j.item).IsZero() {
		r.counts.Waiting--
	}
	r.state.answer(j.item, a)
	if a.Code > 0 {
		r.cutOff = time.Time{} // a mail server was reached
	}
	r.turns.passed(j.lane)
	if j.lane.site.Key != "" {
		r.turns.judge(j.lane, &a)
	}
	if r.askedAgain(j.item, &a, retry) {
		r.later(j.lane, j.item, now.Add(retry))
	} else {
		if r.again[j.item] {
			r.counts.Waiting--
		}
		r.settle(j.item)
	}
	r.turns.left(j.lane, now)
}

// askedAgain reports whether an address is asked about once more in the end.
func (r *Run) askedAgain(n int32, a *Answer, retry time.Duration) bool {
	return a.mayPass() && !r.again[n] && r.state.asked[n] <= 1 && r.cfg.Patience > 0 &&
		retry <= r.cfg.Patience
}

// later has an address asked about once more when all others are done.
func (r *Run) later(l *lane, n int32, due time.Time) {
	r.again[n] = true
	r.counts.Waiting++
	r.turns.last = append(r.turns.last, late{lane: l, item: n, due: due})
}

// settle counts an answer that is the last.
func (r *Run) settle(n int32) {
	if r.settled[n] {
		return
	}
	r.settled[n] = true
	r.counts.Done++
	r.counts.Verdicts[r.state.answers[n].Verdict]++
}

// refuse answers for those that nobody is asked about. What is known of them stays.
func (r *Run) refuse(items []refusal) {
	now, end := time.Now(), 0
	r.mu.Lock()
	for _, x := range items {
		n := x.item
		a := r.state.answers[n]
		if a.Verdict == "" {
			a = unasked(x.reason, now)
		}
		if r.again[n] || !r.state.since(n).IsZero() {
			r.counts.Waiting--
		}
		r.state.answer(n, a)
		r.again[n] = true
		r.settle(n)
		if r.journal != nil {
			end = r.journal.append(answerLine(n, &a))
		}
	}
	r.turns.busy--
	r.mu.Unlock()
	if r.journal == nil {
		return
	}
	if err := r.journal.wait(end); err != nil {
		r.fail(err)
	}
}
