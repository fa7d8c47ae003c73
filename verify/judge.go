package verify

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// rating is what a reason is worth.
type rating struct {
	verdict        Verdict
	confidence     float64 // how sure the verdict is
	deliverability float64 // probability that mail will be delivered
}

// rate is the one table of reasons. The numbers are start values: 0.95 of the mail
// of an ordinary sender is deliverable, and that is where not knowing stays.
//
//	reason                          verdict        conf.  deliv.
//	mailbox_exists                  deliverable    0.90   0.97   250; but some servers accept all
//	mailbox_unknown                 undeliverable  0.98   0.01   wrong now and then (Gmail, Dec 2020)
//	mailbox_disabled, moved         undeliverable  0.95   0.02
//	null_mx, domain_unknown         undeliverable  0.99   0.00
//	mailbox_full                    risky          0.90   0.30   some owners clean up
//	no_smtputf8                     risky          0.90   0.05   the relay's delivery fails alike
//	no_mail_host                    unknown        0      0.05   may be repaired within minutes
//	unreachable, timeout, tls ...   unknown        0      0.50
//	blocked_ip, blocked_sender      unknown        0      0.50   the mail itself meets the same
//	greylisted                      unknown        0      0.95   unknown ones are often refused
//	all others                      unknown        0      0.90
func rate(r Reason) rating {
	switch r {
	case MailboxExists:
		return rating{Deliverable, 0.90, 0.97}
	case MailboxUnknown:
		return rating{Undeliverable, 0.98, 0.01}
	case MailboxDisabled, Moved:
		return rating{Undeliverable, 0.95, 0.02}
	case NullMX, DomainUnknown:
		return rating{Undeliverable, 0.99, 0}
	case MailboxFull:
		return rating{Risky, 0.90, 0.30}
	case NoSMTPUTF8:
		return rating{Risky, 0.90, 0.05}
	case NoMailHost:
		return rating{Unknown, 0, 0.05}
	case Unreachable, Timeout, TLSFailure, ProtocolError, BlockedIP, BlockedSender, Policy:
		return rating{Unknown, 0, 0.50}
	case Greylisted:
		return rating{Unknown, 0, 0.95}
	default:
		return rating{Unknown, 0, 0.90}
	}
}

// because returns the result that a reason stands for.
func because(r Reason) Result {
	v := rate(r)
	return Result{
		Verdict: v.verdict, Reason: r, Confidence: v.confidence, Deliverability: v.deliverability,
		Proof: v.verdict == Undeliverable,
	}
}

// judgeSet judges a domain before any of its hosts is asked. ok is false when they
// are to be asked.
//
// A domain without any host for mail is not proof, as a null MX or NXDOMAIN is: what
// exists but lacks its records is more often broken than given up.
func judgeSet(set mx.Set, now time.Time) (r Result, ok bool) {
	switch set.Kind {
	case mx.Hosts:
		return Result{}, false
	case mx.NullMX:
		r = because(NullMX)
	case mx.NXDomain:
		r = because(DomainUnknown)
	case mx.NoHosts:
		r = because(NoMailHost)
	case mx.Internal:
		return because(InternalDomain), true
	case mx.Literal, mx.NotProbed:
		return because(NotProbed), true
	default: // mx.Failure, and whatever is not known here
		r = because(DNSFailure)
	}
	r.Checked = now
	return r, true
}

// judge is what one probe tells of the recipient. It is pure: the same values give
// the same result.
//
// Undeliverable needs all of this: a complete reply to RCPT, with a 5xx code, that
// class calls proof, from a server that is not ourselves, within our own limits.
func judge(out probe.Outcome, class reply.Class, now time.Time) Result {
	r := because(reasonOf(out, class))
	r.MX, r.Stage, r.Checked = out.MX, out.Stage, now
	if !out.Reply.IsZero() {
		r.Reply, r.Label = trim(out.Reply), class.Label
	}
	if out.LocalLimit {
		r.Checked = time.Time{}
	}
	return r
}

func reasonOf(out probe.Outcome, class reply.Class) Reason {
	answered := out.Err == nil && !out.Reply.IsZero()
	switch {
	case out.LocalLimit:
		return LocalLimit
	case out.Self:
		return Self
	case answered && out.Stage == reply.StageRcpt:
		return answerReason(out, class)
	case out.NoUTF8:
		return NoSMTPUTF8
	case answered:
		return refusalReason(class)
	}
	return brokenReason(out)
}

// answerReason is for a complete reply to RCPT.
func answerReason(out probe.Outcome, class reply.Class) Reason {
	if class.Proof && out.Reply.Permanent() {
		switch class.Label {
		case reply.MailboxUnknown:
			return MailboxUnknown
		case reply.MailboxDisabled:
			return MailboxDisabled
		case reply.Moved:
			return Moved
		case reply.DomainUnknown:
			return DomainUnknown
		default: // no other label can be proof
		}
	}
	switch {
	case out.NoUTF8: // asked in the A-label form, which the mail itself will not use
		return NoSMTPUTF8
	case out.Reply.Code == 250, out.Reply.Code == 251:
		return MailboxExists
	case out.Reply.Code == 252:
		return Unconfirmed
	case out.Reply.Positive(), out.Reply.Intermediate():
		return ProtocolError
	case class.Label == reply.MailboxFull:
		return MailboxFull
	}
	return refusalReason(class)
}

// refusalReason is for a reply that is not about the mailbox, at whatever stage.
func refusalReason(class reply.Class) Reason {
	switch class.Label {
	case reply.Greylisted:
		return Greylisted
	case reply.RateLimited:
		return RateLimited
	case reply.BlockedIP:
		return BlockedIP
	case reply.BlockedSender:
		return BlockedSender
	case reply.ProtocolError:
		return ProtocolError
	case reply.TempOther:
		return Temporary
	case reply.Accepted: // a positive reply, and yet the conversation ended there
		return ProtocolError
	default: // PolicyOther, TooBig, and whatever is said of the mailbox without proof
		return Policy
	}
}

// brokenReason is for a conversation that broke.
func brokenReason(out probe.Outcome) Reason {
	var protocol *esmtp.ProtocolError
	var timeout net.Error
	switch {
	case errors.Is(out.Err, probe.ErrClosed):
		return Closing
	case out.MX == "": // the request was not fit to be asked
		return NotProbed
	case errors.As(out.Err, &protocol):
		return ProtocolError
	case out.ConnectTimeout, errors.Is(out.Err, context.DeadlineExceeded),
		errors.Is(out.Err, os.ErrDeadlineExceeded), errors.As(out.Err, &timeout) && timeout.Timeout():
		return Timeout
	case !out.Connected:
		return Unreachable
	case out.Stage == reply.StageStartTLS:
		return TLSFailure
	}
	return Temporary
}

// aboutMailbox reports whether r, an Unknown, rests on a reply to RCPT that may be
// about the mailbox, and so speaks against an older proof: 450 where it was 550.
func aboutMailbox(r Result) bool {
	if r.Stage != reply.StageRcpt || r.Reply.IsZero() {
		return false
	}
	switch r.Reason {
	case RateLimited, BlockedIP, BlockedSender, LocalLimit, Self:
		return false
	default:
		return true
	}
}

// The most that is kept of a reply.
const (
	keepLines  = 8
	keepOctets = 1024
)

// trim cuts a reply to what may be kept in memory for days: its first lines and the
// last, which often decides, 1 KiB in all.
func trim(r esmtp.Reply) esmtp.Reply {
	lines := r.Lines
	if len(lines) > keepLines {
		lines = append(lines[:keepLines-1:keepLines-1], lines[len(lines)-1])
	}
	each := keepOctets / max(1, len(lines))
	kept := make([]string, len(lines))
	for i, line := range lines {
		// Cloned: a line may be part of a larger buffer.
		kept[i] = string([]byte(line[:min(len(line), each)]))
	}
	return esmtp.Reply{Code: r.Code, Lines: kept}
}
