package bench

import (
	"fmt"
	"slices"
	"sync"
)

// Outcome is what a client knows of one message in the end.
type Outcome int

// The outcomes.
const (
	Unsent   Outcome = iota // the end of the message was never sent
	Accepted                // 250
	Refused                 // another reply, which leaves no doubt that the message was not taken
	Unknown                 // 451 4.4.2: the proxy says that it does not know
	Silence                 // the connection ended without a reply
)

// Entry is one message of a Ledger.
type Entry struct {
	Outcome Outcome
	Octets  int64
	SHA256  [32]byte
	Rcpts   []string // those that were accepted
}

// Arrival is a message behind the proxy.
type Arrival struct {
	ID     string
	Octets int64 // dots unstuffed
	SHA256 [32]byte
	Rcpts  []string
}

// Ledger has what clients were told of their messages. It is safe for concurrent use; the zero
// value is empty.
type Ledger struct {
	mu      sync.Mutex
	entries map[string]Entry
}

// Note enters a message, of which there is one of each id.
func (l *Ledger) Note(id string, e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries == nil {
		l.entries = make(map[string]Entry)
	}
	l.entries[id] = e
}

// Balance compares a ledger with what arrived.
type Balance struct {
	Accepted, Refused, Unsent int
	Unknown, Silence          int
	Arrived                   int
	Doubtful                  int      // of Unknown and Silence, those that did arrive
	Faults                    []string // what must not be
}

// maxFaults are told one by one.
const maxFaults = 20

func (b *Balance) fault(format string, args ...any) {
	if len(b.Faults) < maxFaults {
		b.Faults = append(b.Faults, fmt.Sprintf(format, args...))
	}
}

// Add sums up.
func (b *Balance) Add(o Balance) {
	b.Accepted += o.Accepted
	b.Refused += o.Refused
	b.Unsent += o.Unsent
	b.Unknown += o.Unknown
	b.Silence += o.Silence
	b.Arrived += o.Arrived
	b.Doubtful += o.Doubtful
	b.Faults = append(b.Faults, o.Faults...)
}

// Balance tells whether every message that was answered 250 arrived exactly once, octet by octet
// and for the recipients that were accepted; one that was refused, or not sent to its end, never;
// and one in doubt at most once (RFC 1047 allows no more). Only a proxy that was killed may leave
// a client in silence after the end of a message.
func (l *Ledger) Balance(arrived []Arrival, killed bool) Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := Balance{Arrived: len(arrived)}
	times := make(map[string]int, len(arrived))
	for _, a := range arrived {
		times[a.ID]++
		e, ok := l.entries[a.ID]
		switch {
		case !ok:
			b.fault("%s: arrived, but nobody sent it", a.ID)
		case a.Octets != e.Octets || a.SHA256 != e.SHA256:
			b.fault("%s: arrived with %d octets, sent were %d, and they differ", a.ID, a.Octets, e.Octets)
		case e.Outcome == Accepted && !sameSet(a.Rcpts, e.Rcpts):
			b.fault("%s: arrived for %q, accepted were %q", a.ID, a.Rcpts, e.Rcpts)
		}
	}
	for id, e := range l.entries {
		b.enter(id, e, times[id], killed)
	}
	return b
}

// enter judges one message that arrived so many times.
func (b *Balance) enter(id string, e Entry, times int, killed bool) {
	switch e.Outcome {
	case Accepted:
		if b.Accepted++; times != 1 {
			b.fault("%s: answered 250, arrived %d times", id, times)
		}
	case Refused:
		if b.Refused++; times != 0 {
			b.fault("%s: refused, but arrived %d times", id, times)
		}
	case Unsent:
		if b.Unsent++; times != 0 {
			b.fault("%s: not sent to its end, but arrived %d times", id, times)
		}
	case Unknown, Silence:
		if b.Doubtful += times; times > 1 {
			b.fault("%s: no 250, arrived %d times", id, times)
		}
		if e.Outcome == Unknown {
			b.Unknown++
			return
		}
		if b.Silence++; !killed {
			b.fault("%s: no reply to the message, though the gate was not killed", id)
		}
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
