package feedback

import (
	"net/netip"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// Event is what the relay did with the message for one recipient.
type Event string

// The events, a closed set.
const (
	Delivered Event = "delivered" // the server took it: status=sent
	Deferred  Event = "deferred"  // the relay will try again: status=deferred, SOFTBOUNCE
	Bounced   Event = "bounced"   // the relay gave up: status=bounced
)

// Observation is what happened to one recipient of one message in one attempt.
type Observation struct {
	Event Event
	Rcpt  esmtp.Address // has a domain
	// Orig is the recipient that the relay was given, where its aliases led to another: Rcpt. Null if
	// it is the same.
	Orig esmtp.Address
	// Sender is known only if HasSender; then, null is the null reverse-path.
	Sender    esmtp.Address
	HasSender bool
	// Recipients is how many the message had, 0 if not known. A reply to the end of data
	// speaks of all those in its transaction.
	Recipients int
	// Reply is what the server said to this attempt, zero if it said nothing (a timeout, a lost
	// connection) or the relay decided alone. Where Postfix cut the line, so is its last line.
	Reply esmtp.Reply
	// Stage is what Reply answered, or where the conversation ended without one.
	Stage reply.Stage
	// MX and Addr are the server that was spoken to: its name in lower case and its address, as the
	// relay logs them. Empty and invalid where there was none.
	MX   string
	Addr netip.Addr
	// DSN is the relay's status. It is the server's enhanced code if that sent one, else Postfix's
	// guess (5.0.0), and a delivery status filter may have changed it: the Reply is the evidence.
	DSN esmtp.EnhancedCode
	// Text is what stands in parentheses after the status, octets as logged, for people: escape it.
	Text    string
	QueueID string // of the relay; its 250 to our end of data ends in it
	At      time.Time
	Source  string // the file's path, or Journal
}
