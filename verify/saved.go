package verify

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// Saved is a verdict of a [cache.Store] in the form for export. Its key is an HMAC, so it tells the
// address only to whom has the secret and the address; names of mail servers and masked replies are in
// clear.
type Saved struct {
	Bucket         string      `json:"bucket"` // "verdicts"
	Key            string      `json:"key"`    // hexadecimal
	Verdict        Verdict     `json:"verdict"`
	Reason         Reason      `json:"reason"`
	Confidence     float64     `json:"confidence"`
	Deliverability float64     `json:"deliverability"`
	Provider       string      `json:"provider,omitempty"`
	MX             string      `json:"mx,omitempty"`
	Stage          reply.Stage `json:"stage,omitempty"`
	Label          reply.Label `json:"label,omitempty"`
	Code           int         `json:"code,omitempty"`
	Reply          []string    `json:"reply,omitempty"` // its lines
	CatchAll       bool        `json:"catch_all,omitempty"`
	Stored         time.Time   `json:"stored"`
	Checked        time.Time   `json:"checked,omitzero"`
	Refresh        time.Time   `json:"refresh"`
	Expire         time.Time   `json:"expire"`
}

// EachSaved calls fn for each verdict in a store, until fn returns false.
func EachSaved(s *cache.Store, fn func(Saved) bool) {
	s.Range(cache.Verdicts, nil, func(key, value []byte, expire time.Time) bool {
		r, k, ok := loadRecord(s, value, expire)
		if !ok {
			return true
		}
		r.said = k.said()
		var e cache.Entry[Result]
		r.entry(&e)
		return fn(savedOf(key, &e))
	})
}

func savedOf(key []byte, e *cache.Entry[Result]) Saved {
	r := &e.Value
	return Saved{
		Bucket: cache.Verdicts.String(), Key: hex.EncodeToString(key),
		Verdict: r.Verdict, Reason: r.Reason, Confidence: r.Confidence, Deliverability: r.Deliverability,
		Provider: r.Provider, MX: r.MX, Stage: r.Stage, Label: r.Label, Code: r.Reply.Code,
		Reply: r.Reply.Lines, CatchAll: r.CatchAll, Stored: e.Stored.UTC(), Checked: r.Checked.UTC(),
		Refresh: e.Refresh.UTC(), Expire: e.Expire.UTC(),
	}
}

// Save puts an exported verdict into a store with the same secret. What has expired, or is older than
// what the store has, is left out, and done is false. The error says what is wrong with x.
func (x Saved) Save(s *cache.Store, now time.Time) (done bool, err error) {
	key, err := hex.DecodeString(x.Key)
	switch {
	case err != nil || len(key) != len([24]byte{}):
		return false, fmt.Errorf("key %q is not 24 octets in hexadecimal", x.Key)
	case x.Verdict != Deliverable && x.Verdict != Undeliverable && x.Verdict != Risky:
		return false, fmt.Errorf("verdict %q is none that is kept", x.Verdict)
	case x.Reason == "":
		return false, errors.New("the reason is missing")
	case x.Stored.After(now.Add(time.Hour)):
		return false, fmt.Errorf("stored %s, which is to come", x.Stored.Format(time.RFC3339))
	case x.Code < 0 || x.Code > 999:
		return false, fmt.Errorf("code %d is none of a reply", x.Code)
	case !now.Before(x.Expire):
		return false, nil
	}
	if value, expire, ok := s.Lookup(cache.Verdicts, key); ok {
		if ours, _, ok := parseDisk(value, expire); ok && ours.stored >= x.Stored.Unix()*1e9 {
			return false, nil
		}
	}
	e := cache.Entry[Result]{
		Value:  Result{Confidence: x.Confidence, Deliverability: x.Deliverability, Checked: x.Checked},
		Stored: x.Stored, Refresh: x.Refresh, Expire: x.Expire,
	}
	k := saidKey{
		verdict: x.Verdict, reason: x.Reason, provider: x.Provider, mx: x.MX, stage: x.Stage,
		label: x.Label, catchAll: x.CatchAll, code: x.Code, text: strings.Join(x.Reply, "\n"),
	}
	r := newRecord(&e)
	words := k.disk()
	h := hashWords(words)
	if !s.Put(cache.Words, h[:], words, x.Expire.Add(wordsOutlive)) ||
		!s.Put(cache.Verdicts, key, r.disk(h), x.Expire) {
		return false, ErrStoreBusy
	}
	return true, nil
}

// ErrStoreBusy is returned while too much waits to be written: call [cache.Store.Sync] and try again.
var ErrStoreBusy = errors.New("the cache does not take so much at one time")
