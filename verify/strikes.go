package verify

import (
	"encoding/binary"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// strikeGap is how far two bounces must be apart to count as two: what goes wrong at a provider
// for an hour bounces everything that is sent in it.
const strikeGap = time.Hour

// history is what happened to mail for one mailbox that mail was seen to arrive at, in Unix
// seconds; 0 is never. It is kept because of the two-strike rule: the first bounce of an address
// that used to work does not refuse it, unless its server says the same when asked.
type history struct {
	delivered int64 // the last delivery
	first     int64 // the first bounce since
	bounced   int64 // the last bounce since
}

func (h history) worked() bool            { return h.delivered > 0 }
func (h history) lastDelivery() time.Time { return unixTime(h.delivered) }
func (h history) lastBounce() time.Time   { return unixTime(h.bounced) }

func unixTime(sec int64) time.Time {
	if sec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, 0)
}

// strikes is how many bounces count against the mailbox: 0, 1 or 2.
func (h history) strikes() int {
	switch {
	case h.bounced == 0, h.bounced <= h.delivered:
		return 0
	case h.bounced-h.first >= int64(strikeGap/time.Second):
		return 2
	default:
		return 1
	}
}

// arrived adds a delivery, which ends what bounces before it were worth.
func (h history) arrived(at time.Time) history {
	sec := at.Unix()
	h.delivered = max(h.delivered, sec)
	if h.first <= sec {
		h.first = h.bounced
	}
	if h.bounced <= sec {
		h.first, h.bounced = 0, 0
	}
	return h
}

// struck adds a bounce.
func (h history) struck(at time.Time) history {
	sec := at.Unix()
	switch {
	case sec <= h.delivered: // old news
		return h
	case h.bounced == 0:
		h.first, h.bounced = sec, sec
	default:
		h.first, h.bounced = min(h.first, sec), max(h.bounced, sec)
	}
	return h
}

// describe tells people, "" if there is nothing to tell.
func (h history) describe(now time.Time) string {
	if !h.worked() {
		return ""
	}
	text := "mail was delivered " + now.Sub(h.lastDelivery()).Round(time.Second).String() + " ago"
	switch h.strikes() {
	case 0:
		return text
	case 1:
		return text + ", and bounced since: one more bounce will refuse it"
	default:
		return text + ", and bounced again and again since"
	}
}

const historyOctets = 24

func (h history) append(b []byte) []byte {
	for _, sec := range []int64{h.delivered, h.first, h.bounced} {
		b = binary.BigEndian.AppendUint64(b, uint64(sec)) //nolint:gosec // and back below
	}
	return b
}

func readHistory(b []byte) (h history, ok bool) {
	if len(b) != historyOctets {
		return history{}, false
	}
	for i, sec := range []*int64{&h.delivered, &h.first, &h.bounced} {
		*sec = int64(binary.BigEndian.Uint64(b[8*i:])) //nolint:gosec // as above
	}
	return h, h.delivered >= 0 && h.first >= 0 && h.bounced >= 0
}

// historyKeep is how long a history is kept behind its last delivery or bounce: by then the
// evidence is worth a quarter.
const historyKeep = 2 * evidenceHalf

// historySize bounds the histories in memory.
const historySize = 65_536

// histories is the memory of them, by the key of the address. It holds addresses that mail has
// arrived at, and no others: who sends to invented addresses leaves no trace in it.
type histories struct{ kept *kept[history] }

func newHistories(store *cache.Store) *histories {
	return &histories{kept: newKept(historySize, store, keptCodec[history]{
		bucket: cache.Strikes, life: historyKeep, append: history.append, read: readHistory,
		key: func(store *cache.Store, key string) []byte {
			at := store.KeyOf(key)
			return at[:]
		},
	})}
}

func (h *histories) of(key string, now time.Time) history {
	got, _ := h.kept.get(key, now)
	return got
}

func (h *histories) arrived(key string, at, now time.Time) {
	h.kept.update(key, now, func(old history, _ bool) (history, bool) {
		return old.arrived(at), true
	})
}

// struck adds a bounce to the history of an address that used to work. known is false for an
// address without a history, which gets none.
func (h *histories) struck(key string, at, now time.Time) (strikes int, known bool) {
	h.kept.update(key, now, func(old history, ok bool) (history, bool) {
		if known = ok && old.worked(); !known {
			return old, false
		}
		old = old.struck(at)
		strikes = old.strikes()
		return old, true
	})
	return strikes, known
}

// pardon drops the bounces since a time.
func (h *histories) pardon(key string, since, now time.Time) {
	h.kept.update(key, now, func(old history, ok bool) (history, bool) {
		if !ok || old.bounced < since.Unix() {
			return old, false
		}
		if old.bounced = old.first; old.first >= since.Unix() {
			old.first, old.bounced = 0, 0
		}
		return old, true
	})
}
