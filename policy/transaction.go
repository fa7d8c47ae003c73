package policy

import (
	"sync"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// Transaction is one message: all its recipients are decided with the same one, also side by side.
// The exported fields are only read. Once a recipient was decided it must not be copied: it keeps
// in mind that its message was counted.
type Transaction struct {
	Session, ID string // names for logs
	Door        string // DoorSMTP (also "") or DoorPolicyd
	Client      Client
	Mail        esmtp.Mail
	Budget      *verify.Budget // the waiting of all recipients together; nil: only each one's own

	who   senderOnce
	count counted
	given *given // instead of the register and the senders; for cases
}

// counted is what the counters of the sender have of a message.
type counted struct {
	sync.Mutex

	message bool            // a recipient of it passed
	taken   []esmtp.Address // counted by a Batch, which could not decide; Rcpt follows
}

// senderOnce is who sends, for the counters: made once for all recipients.
type senderOnce struct {
	sync.Once

	id senders.Identity
}

// given is what a case says about the sender and the recipient.
type given struct {
	counters   senders.Counters
	suppressed bool
}

func (tx *Transaction) identity() senders.Identity {
	tx.who.Do(func() {
		id := senders.Identity{Login: tx.Client.Login, SenderDomain: tx.Mail.From.ASCIIDomain()}
		if !tx.Mail.From.IsNull() {
			id.Sender = tx.Mail.From.Key()
		}
		if addr := tx.Client.Addr; addr.IsValid() {
			id.Client = addr.Unmap().WithZone("").String()
		}
		tx.who.id = id
	})
	return tx.who.id
}

// messagePassed notes that a recipient of the message has passed.
func (tx *Transaction) messagePassed() {
	tx.count.Lock()
	defer tx.count.Unlock()
	tx.count.message = true
}

func (tx *Transaction) messageCounted() bool {
	tx.count.Lock()
	defer tx.count.Unlock()
	return tx.count.message
}
