package message

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
)

const (
	// bulkHours is the length of the window; hours are whole ones.
	bulkHours = 24
	// bulkSize is how many pairs of a From domain and a receiver are counted.
	bulkSize = 20_000
	// bulkFile is where they are kept, in the state directory.
	bulkFile = "message-bulk.json"
	// bulkSample is how many are looked at to find one to forget.
	bulkSample = 16
)

// BulkSender is a From domain's count of messages to one receiver.
type BulkSender struct {
	Domain   string `json:"domain"`   // organizational, A-labels
	Receiver string `json:"receiver"` // "google", "yahoo", "microsoft", ...
	// Count is the number of messages in the last 24 hours; each recipient's copy is one.
	Count int `json:"-"`
	// Since is when it began to be a bulk sender; zero: it is none. It then stays one: "once bulk,
	// always bulk" is Google's rule.
	Since time.Time `json:"since,omitzero"`
}

// receivers are those with published rules for bulk senders (Gmail and Microsoft by 5000 messages a
// day and From domain, the others without a number), by the names of providers. Read only.
var receivers = map[string]string{
	"yahoo": "yahoo", "yahoojp": "yahoojp", "att": "yahoo", "comcast": "comcast",
	"outlook": "microsoft", "apple": "apple", "orange": "orange", "laposte": "laposte",
	"gmx": "gmx", "webde": "gmx",
}

// receiverDomains are receivers whose rules go by the recipient's domain: Gmail's are about personal
// accounts, not about Workspace. Read only.
var receiverDomains = map[string]string{
	"gmail.com": "google", "googlemail.com": "google", "laposte.net": "laposte",
	"outlook.com": "microsoft", "hotmail.com": "microsoft", "live.com": "microsoft",
	"msn.com": "microsoft", "yahoo.com": "yahoo", "aol.com": "yahoo", "icloud.com": "apple",
	"me.com": "apple", "mac.com": "apple", "orange.fr": "orange", "wanadoo.fr": "orange",
}

// receiver is whose rules a recipient falls under; "": nobody's.
func receiver(r Recipient) string {
	if name := receiverDomains[strings.ToLower(r.Domain)]; name != "" {
		return name
	}
	return receivers[r.Provider]
}

type bulkKey struct{ domain, receiver string }

// bulkCount counts by the hour: hours[h%24] is hour h, for the last 24 hours up to the newest.
type bulkCount struct {
	newest int64 // in hours since 1970
	hours  [bulkHours]uint32
	since  time.Time
}

// bulkTable counts the messages of From domains by receiver. Its memory is bounded by bulkSize.
type bulkTable struct {
	mu      sync.Mutex
	counts  map[bulkKey]*bulkCount
	changed bool // since it was saved
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// roll forgets what is older than the window.
func (c *bulkCount) roll(now time.Time) {
	hour := hourOf(now)
	for range min(hour-c.newest, bulkHours) {
		c.newest++
		c.hours[c.newest%bulkHours] = 0
	}
	c.newest = max(c.newest, hour)
}

func (c *bulkCount) sum() int {
	n := 0
	for _, hour := range c.hours {
		n += int(hour)
	}
	return n
}

// add counts n messages. began reports that the domain is a bulk sender from now on.
func (t *bulkTable) add(domain, receiver string, n, limit int, now time.Time) (s BulkSender, began bool) {
	key := bulkKey{domain, receiver}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[key]
	if c == nil {
		if len(t.counts) >= bulkSize {
			t.forgetOne(now)
		}
		c = &bulkCount{newest: hourOf(now)}
		t.counts[key] = c
	}
	c.roll(now)
	c.hours[c.newest%bulkHours] += uint32(n) //nolint:gosec // recipients of one message
	t.changed = true
	s = BulkSender{Domain: domain, Receiver: receiver, Count: c.sum()}
	if c.since.IsZero() && s.Count >= limit {
		c.since, began = now, true
	}
	s.Since = c.since
	return s, began
}

// bulk reports whether a domain is a bulk sender for a receiver.
func (t *bulkTable) bulk(domain, receiver string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[bulkKey{domain, receiver}]
	return c != nil && !c.since.IsZero()
}

// forgetOne makes room: of some, the one that matters least.
func (t *bulkTable) forgetOne(now time.Time) {
	var worst bulkKey
	least, looked := -1, 0
	for key, c := range t.counts {
		c.roll(now)
		weight := c.sum()
		if !c.since.IsZero() {
			weight += 1 << 30
		}
		if least < 0 || weight < least {
			worst, least = key, weight
		}
		if looked++; looked == bulkSample {
			break
		}
	}
	delete(t.counts, worst)
}

// forget ends what is known of a domain.
func (t *bulkTable) forget(domain, receiver string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := bulkKey{domain, receiver}
	if t.counts[key] == nil {
		return false
	}
	delete(t.counts, key)
	t.changed = true
	return true
}

// list is what is counted, the most first.
func (t *bulkTable) list(now time.Time) []BulkSender {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]BulkSender, 0, len(t.counts))
	for key, c := range t.counts {
		c.roll(now)
		out = append(out, BulkSender{key.domain, key.receiver, c.sum(), c.since})
	}
	slices.SortFunc(out, func(a, b BulkSender) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Domain, b.Domain),
			cmp.Compare(a.Receiver, b.Receiver))
	})
	return out
}

// savedBulk is one entry of the file, a JSON object a line.
type savedBulk struct {
	BulkSender

	Newest int64             `json:"hour"`
	Hours  [bulkHours]uint32 `json:"hours"`
}

// save writes the table if it changed.
func (t *bulkTable) save(dir *durable.Dir) error {
	t.mu.Lock()
	if !t.changed || dir == nil {
		t.mu.Unlock()
		return nil
	}
	t.changed = false
	entries := make([]savedBulk, 0, len(t.counts))
	for key, c := range t.counts {
		entries = append(entries, savedBulk{
			BulkSender{Domain: key.domain, Receiver: key.receiver, Since: c.since}, c.newest, c.hours,
		})
	}
	t.mu.Unlock()
	err := dir.Write(bulkFile, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		for i := range entries {
			if err := encoder.Encode(&entries[i]); err != nil {
				return fmt.Errorf("counts of bulk senders cannot be written: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		t.mu.Lock()
		t.changed = true
		t.mu.Unlock()
	}
	return err
}

// load reads what was saved. What cannot be read is left out, and said.
func (t *bulkTable) load(dir *durable.Dir, now time.Time) error {
	_, err := dir.Read(bulkFile, func(r io.Reader) error {
		decoder := json.NewDecoder(r)
		for len(t.counts) < bulkSize {
			var e savedBulk
			switch err := decoder.Decode(&e); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return fmt.Errorf("counts of bulk senders cannot be read: %w", err)
			}
			// Counts from the future, of a clock that was wrong, would never end.
			if e.Newest >= 0 && e.Newest <= hourOf(now)+1 && e.Domain != "" {
				t.counts[bulkKey{e.Domain, e.Receiver}] = &bulkCount{
					newest: e.Newest, hours: e.Hours, since: e.Since,
				}
			}
		}
		return nil
	})
	return err
}
