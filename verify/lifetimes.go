package verify

import (
	"time"

	"github.com/rcptgate/rcptgate/verify/reply"
)

// dnsRetry is how long a failure of DNS is held against an address. The resolver
// has its own memory of failures.
const dnsRetry = time.Minute

// fullExpire is how long a full mailbox counts as full: its owner may clean up any day.
const fullExpire = 3 * time.Hour

// bounceExpire is how long a bounce at the end of data holds, where no other word about the mailbox
// can be had: a server that accepts every address at RCPT says this much only once for each mail.
const bounceExpire = 30 * 24 * time.Hour

// lifetimes says how long what was learnt may be used.
type lifetimes struct {
	positiveRefresh, positiveExpire time.Duration
	negativeRefresh, negativeExpire time.Duration
	temporaryExpire                 time.Duration
}

// of returns after how long a result is to be asked anew, and after how long it
// must not be used at all; zero: never keep it by the recipient. ttl is that of the
// DNS answer, for what DNS alone said.
func (l lifetimes) of(r Result, ttl time.Duration) (refresh, expire time.Duration) {
	switch r.Reason {
	case MailboxExists, Delivered, AcceptAll:
		return min(l.positiveRefresh, l.positiveExpire), l.positiveExpire
	case MailboxUnknown, MailboxDisabled, Moved:
		if r.Stage == reply.StageDot {
			return min(l.negativeRefresh, bounceExpire), bounceExpire
		}
		return min(l.negativeRefresh, l.negativeExpire), l.negativeExpire
	case NullMX, DomainUnknown:
		if r.MX != "" { // its own server disowns the domain
			return min(l.negativeRefresh, l.negativeExpire), l.negativeExpire
		}
		ttl = min(ttl, l.negativeRefresh)
		return ttl, ttl
	case MailboxFull:
		return fullExpire, fullExpire
	case NoSMTPUTF8:
		return l.positiveRefresh, l.positiveRefresh
	case NoMailHost, DNSFailure:
		ttl = min(l.temporaryExpire, dnsRetry)
		return ttl, ttl
	case Timeout, Unreachable, TLSFailure, ProtocolError, Temporary, Policy, Unconfirmed, Self,
		Busy, Disputed, Bounced, ProviderPassive:
		return l.temporaryExpire, l.temporaryExpire
	default:
		// Internal, our own limits, an incident, and what is kept by mail server or sender.
		return 0, 0
	}
}
