package bulk

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// The reasons of this package; all others are those of package verify.
const (
	// Interrupted: its mail server was being asked when the check was cut off.
	Interrupted verify.Reason = "interrupted"
	// Syntax: the row has no address.
	Syntax verify.Reason = "syntax"
)

// Answer is what became of one address.
type Answer struct {
	Verdict        verify.Verdict // "": none yet
	Reason         verify.Reason
	Confidence     float32
	Deliverability float32
	Provider       string
	MX             string
	Code           int       // of the mail server's reply; 0 if there was none
	Checked        time.Time // in whole seconds; when its mail server, or DNS, was asked
}

// answerOf keeps of a result what goes into a list.
func answerOf(r verify.Result, now time.Time) Answer {
	a := Answer{
		Verdict: r.Verdict, Reason: r.Reason, Confidence: float32(r.Confidence),
		Deliverability: float32(r.Deliverability), Provider: r.Provider,
		MX: string(esmtp.AppendEscaped(nil, r.MX, false)), Code: r.Reply.Code, Checked: r.Checked,
	}
	if a.Checked.IsZero() {
		a.Checked = now
	}
	a.Checked = a.Checked.Truncate(time.Second)
	return a
}

// unasked is the answer about an address that nobody is asked about.
func unasked(reason verify.Reason, now time.Time) Answer {
	return Answer{Verdict: verify.Unknown, Reason: reason, Checked: now.Truncate(time.Second)}
}

func (a *Answer) append(b []byte) []byte {
	for _, s := range []string{
		string(a.Verdict), string(a.Reason), decimal(a.Confidence), decimal(a.Deliverability),
		a.Provider, a.MX, strconv.Itoa(a.Code),
	} {
		b = append(append(b, s...), '\t')
	}
	return strconv.AppendInt(b, a.Checked.Unix(), 10)
}

// answerFields is how many fields append writes.
const answerFields = 8

func decimal(f float32) string { return strconv.FormatFloat(float64(f), 'f', -1, 32) }

// parseAnswer reads what append wrote.
func parseAnswer(fields []string) (a Answer, err error) {
	if len(fields) != answerFields {
		return a, fmt.Errorf("%d fields, not %d", len(fields), answerFields)
	}
	a.Verdict, a.Reason = verify.Verdict(fields[0]), verify.Reason(fields[1])
	a.Provider, a.MX = fields[4], fields[5]
	switch a.Verdict {
	case verify.Unknown, verify.Deliverable, verify.Undeliverable, verify.Risky:
	default:
		return a, fmt.Errorf("%q is no verdict", fields[0])
	}
	for _, name := range []string{fields[1], a.Provider, a.MX} {
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
			return a, fmt.Errorf("%q is no name", name)
		}
	}
	if a.Confidence, err = parseShare(fields[2]); err != nil {
		return a, err
	}
	if a.Deliverability, err = parseShare(fields[3]); err != nil {
		return a, err
	}
	if a.Code, err = strconv.Atoi(fields[6]); err != nil || a.Code < 0 || a.Code > 599 {
		return a, fmt.Errorf("%q is no reply code", fields[6])
	}
	seconds, err := strconv.ParseInt(fields[7], 10, 64)
	if err != nil || seconds < 0 || seconds > maxUnix {
		return a, fmt.Errorf("%q is no time", fields[7])
	}
	a.Checked = time.Unix(seconds, 0)
	return a, nil
}

// maxUnix is the end of the year 9999.
const maxUnix = 253402300799

func parseShare(s string) (float32, error) {
	f, err := strconv.ParseFloat(s, 32)
	if err != nil || !(f >= 0 && f <= 1) { // which no NaN is
		return 0, fmt.Errorf("%q is no share", s)
	}
	return float32(f), nil
}

// mayPass reports whether an answer may be another one some time later.
func (a *Answer) mayPass() bool {
	if a.Verdict != verify.Unknown {
		return false
	}
	switch a.Reason {
	case verify.Timeout, verify.Unreachable, verify.DNSFailure, verify.TLSFailure, verify.ProtocolError,
		verify.Temporary, verify.RateLimited, verify.BlockedIP, verify.NoMailHost, verify.Incident,
		verify.Busy:
		return true
	default:
		return false
	}
}

// noMailbox reports whether a mail server knows no such mailbox: what somebody gets to hear who makes
// up addresses.
func (a *Answer) noMailbox() bool {
	switch a.Reason {
	case verify.MailboxUnknown, verify.MailboxDisabled, verify.Moved:
		return a.Verdict == verify.Undeliverable
	default:
		return false
	}
}

// exists reports whether a mail server knows the mailbox, or says so.
func (a *Answer) exists() bool {
	return a.Verdict == verify.Deliverable || a.Verdict == verify.Risky
}
