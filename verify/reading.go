package verify

import (
	"cmp"
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

// reading is what one probe tells of the recipient, before it is weighed. It is pure: the same
// values give the same result.
//
// Undeliverable needs all of this: a complete reply to RCPT, with a 5xx code, that
// class calls proof, from a server that is not ourselves, within our own limits.
func reading(out probe.Outcome, class reply.Class, now time.Time) Result {
	r := because(reasonOf(out, class))
	r.MX, r.Stage, r.Checked, r.RetryAfter = out.MX, out.Stage, now, class.Retry
	if r.Reason == Busy {
		r.RetryAfter = cmp.Or(r.RetryAfter, busyRetry)
	}
	if !out.Reply.IsZero() {
		r.Reply, r.Label = trim(out.Reply), class.Label
	}
	if out.LocalLimit {
		r.Checked = time.Time{}
	}
	return r
}

// busyRetry is when to try a mailbox again that gets too much mail: Google's limits are by the
// minute and by the hour (https://support.google.com/a/answer/1366776).
const busyRetry = 15 * time.Minute

func reasonOf(out probe.Outcome, class reply.Class) Reason {
	answered := out.Err == nil && !out.Reply.IsZero()
	switch {
	case out.LocalLimit:
		return LocalLimit
	case out.Self:
		return Self
	case out.Declined:
		return ProviderPassive
	case answered && out.Stage == reply.StageRcpt:
		return answerReason(out, class)
	case out.NoUTF8:
		return NoSMTPUTF8
	case answered:
		return refusalReason(out, class)
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
	case class.Exists: // ReceivingRate and the like
		return Busy
	}
	return refusalReason(out, class)
}

// refusalReason is for a reply that is not about the mailbox, at whatever stage.
func refusalReason(out probe.Outcome, class reply.Class) Reason {
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
		if out.Reply.Transient() && class.Label != reply.PolicyOther {
			return Temporary
		}
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
	case RateLimited, BlockedIP, BlockedSender, LocalLimit, Self, Incident, Disputed:
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

// resultOf is Asked.Result.
func resultOf(out probe.Outcome, class reply.Class) string {
	switch {
	case out.LocalLimit:
		return "local_limit"
	case out.Self:
		return "self"
	case out.Declined:
		return "declined"
	case class.Label != "":
		return string(class.Label)
	case !out.Connected:
		return "unreachable"
	}
	return "broken"
}
