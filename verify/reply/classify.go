package reply

import (
	"strconv"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// How sure a label is where no rule says it.
const (
	sure  = 0.95
	weak  = 0.5
	guess = 0.3 // nothing but the class of the code
)

// query is one reply, made ready for the rules.
type query struct {
	in       *Input
	stage    stageSet
	enhanced esmtp.EnhancedCode // of the code's class, or zero
	words    int
	found    features
}

// Classify judges one reply. It is a pure function, allocates nothing and never fails: what
// cannot be understood is PolicyOther, TempOther or ProtocolError about SubjectUnclear. It may
// be called from several goroutines. The first call compiles the rules, which takes some
// milliseconds.
func Classify(in Input) Class {
	rs := embedded()
	f := finder{a: rs.auto}
	return rs.classify(&in, &f)
}

func (rs *ruleSet) classify(in *Input, f *finder) Class {
	if stageBit(in.Stage) == 0 {
		in.Stage = StageUnknown
	}
	class := in.Code / 100
	switch {
	case in.Code < 200 || in.Code > 599:
		return Class{
			Label: ProtocolError, Subject: SubjectServer, Confidence: sure,
			Rule: "code/" + strconv.Itoa(in.Code),
		}
	case class == 2 || class == 3:
		return positive(in)
	}
	s := scanner{out: f}
	s.scan(in.Text)
	f.stop()
	if f.notes != nil {
		f.notes.enhanced = s.codes.first
	}
	q := query{in: in, stage: stageBit(in.Stage), words: s.words, found: f.found}
	if f.path && (in.Stage == StageConnect || in.Stage == StageHelo) {
		// A banner names no mailbox: the stage is a mistake of a log or a bounce. What the
		// reply says may be read, but the stage grants neither Proof nor Exists.
		q.stage = stageBit(StageUnknown)
	}
	// RFC 3463 section 2: the class of the enhanced code repeats that of the code. Where it
	// does not, one of them is wrong, and the basic code rules the protocol.
	q.enhanced = in.Enhanced
	if q.enhanced == (esmtp.EnhancedCode{}) {
		q.enhanced = s.codes.first
	}
	if q.enhanced[0] != class {
		q.enhanced = esmtp.EnhancedCode{}
	}
	for i := range rs.rules {
		if r := &rs.rules[i]; r.holds(&q) {
			return r.judge(&q, &s.codes)
		}
	}
	if class == 4 {
		return Class{Label: TempOther, Subject: SubjectUnclear, Confidence: guess, Rule: "code/4xx"}
	}
	return Class{Label: PolicyOther, Subject: SubjectUnclear, Confidence: guess, Rule: "code/5xx"}
}

// judge is what the rule says of a reply for which it holds. It is the one place that grants
// proof.
func (r *rule) judge(q *query, codes *codeList) Class {
	c := r.class
	c.Proof = c.Proof && provingCode(q.in.Code) &&
		(q.in.Stage == StageRcpt || q.in.Stage == StageDot) && (c.Subject == SubjectRecipient ||
		c.Subject == SubjectDomain) && r.agrees(q, codes)
	c.Exists = c.Exists && stageBit(q.in.Stage)&earlyStages() == 0
	if q.in.Code/100 == 4 {
		c.Retry = retryIn(q.in.Text)
	}
	return c
}

// provingCode reports whether a code may go with proof: a 5xx that does not speak of commands
// (50x, 555) or of logging in (53x).
func provingCode(code int) bool {
	return code/100 == 5 && code/10 != 50 && code/10 != 53 && code != 555
}

// agrees reports whether the enhanced codes do not speak against proof: none about security
// or the message, except for a rule made for that text, and no two lines of different
// subjects ("550-5.7.1 blocked" before "550 5.1.1").
func (r *rule) agrees(q *query, codes *codeList) bool {
	e := q.in.Enhanced
	if e == (esmtp.EnhancedCode{}) {
		e = codes.first
	}
	if e != (esmtp.EnhancedCode{}) && (e[0] != 5 || e[1] >= 6 && !r.policy) {
		return false
	}
	for _, lead := range codes.lead[:codes.leads] {
		if lead[0] != e[0] || lead[1] != e[1] {
			return false
		}
	}
	return true
}

// positive is for 2xx and 3xx.
func positive(in *Input) Class {
	c := Class{Label: Accepted, Subject: SubjectServer, Confidence: sure, Rule: "code/2xx"}
	if in.Stage != StageRcpt {
		return c
	}
	switch in.Code {
	case 250, 251:
		c.Subject = SubjectRecipient
	case 252: // RFC 5321 section 3.5.3: cannot verify, will try
		c.Subject, c.Confidence, c.Rule = SubjectUnclear, weak, "code/252"
	default: // 220, 221, 354: an answer to something else
		c.Label, c.Rule = ProtocolError, "code/out-of-step"
	}
	return c
}
