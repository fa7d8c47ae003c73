package policyd

import (
	"sync"
	"time"
)

const (
	// maxOrphans is how many transactions whose connection has closed are kept, and for how long:
	// Postfix goes on with a message when its client does, which it waits for 300 s
	// (smtpd_timeout), behind a connection that it left idle for as long.
	maxOrphans = 1000
	orphanTime = 15 * time.Minute
	// maxOrphaned is how many recipients they remember together.
	maxOrphaned = 20_000

	// maxEnded is how many messages are known to have ended.
	maxEnded = 4096
)

// table has the transactions of the server by their names.
type table struct {
	mu       sync.Mutex
	all      map[uint64]*transaction
	orphans  []orphan // in the order of their loss; some have an owner again, or have ended
	orphaned int      // recipients of orphans

	ended     map[uint64]struct{} // the last messages whose end was told
	endedRing []uint64            // in their order, from endedNext on
	endedNext int
}

// orphan is a transaction whose connection has closed.
type orphan struct {
	tx    *transaction
	since time.Time
	rcpts int
}

// take finds a transaction and makes c its owner; nil: there is none.
func (t *table) take(key uint64, c *conn) *transaction {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(time.Now())
	tx := t.all[key]
	if tx != nil {
		tx.owner = c
	}
	return tx
}

// put adds a transaction, or returns the one of that name that is there.
func (t *table) put(tx *transaction, c *conn) *transaction {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.all[tx.key]; other != nil {
		other.owner = c
		return other
	}
	if t.all == nil {
		t.all = make(map[uint64]*transaction)
	}
	tx.owner = c
	t.all[tx.key] = tx
	return tx
}

// end removes a transaction that is c's. It reports whether it was.
func (t *table) end(tx *transaction, c *conn) bool {
	if tx.key == 0 {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if tx.owner != c || t.all[tx.key] != tx {
		return false
	}
	delete(t.all, tx.key)
	return true
}

// over notes that the end of a message is told. It reports whether that is the first time.
func (t *table) over(key uint64) (first bool) {
	if key == 0 {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.ended[key]; known {
		return false
	}
	if t.ended == nil {
		t.ended = make(map[uint64]struct{})
	}
	if len(t.endedRing) < maxEnded {
		t.endedRing = append(t.endedRing, key)
	} else {
		delete(t.ended, t.endedRing[t.endedNext])
		t.endedRing[t.endedNext] = key
		t.endedNext = (t.endedNext + 1) % maxEnded
	}
	t.ended[key] = struct{}{}
	return true
}

// orphan notes that the connection of a transaction has closed. Another may go on with it.
func (t *table) orphan(tx *transaction, c *conn) {
	tx.mu.Lock()
	rcpts := len(tx.asked)
	tx.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if tx.owner != c || t.all[tx.key] != tx {
		return
	}
	now := time.Now()
	tx.owner, tx.lost = nil, now
	t.orphans = append(t.orphans, orphan{tx, now, rcpts})
	t.orphaned += rcpts
	t.sweep(now)
}

// sweep drops the orphans that are too many or too old.
func (t *table) sweep(now time.Time) {
	for len(t.orphans) > 0 {
		oldest := t.orphans[0]
		if len(t.orphans) <= maxOrphans && t.orphaned <= maxOrphaned &&
			now.Sub(oldest.since) < orphanTime {
			return
		}
		if tx := oldest.tx; tx.owner == nil && tx.lost.Equal(oldest.since) && t.all[tx.key] == tx {
			delete(t.all, tx.key)
		}
		t.orphaned -= oldest.rcpts
		t.orphans[0] = orphan{}
		t.orphans = t.orphans[1:]
	}
	t.orphans = nil
}

// Len is how many transactions are known.
func (t *table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}
