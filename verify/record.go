package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// record is an entry of memory: a Result is some 400 octets and most of it is the same for all mailboxes
// of a server, so a record holds the times and numbers and points at the rest.
type record struct {
	said                       *said
	stored, expire             int64  // Unix nanoseconds
	checked                    int64  // likewise; neverChecked: it was not
	refresh                    uint32 // since stored, in hundredths of a second
	confidence, deliverability uint16 // in ten-thousandths
}

const (
	neverChecked = math.MinInt64
	refreshUnit  = 10 * time.Millisecond
)

func (r *record) alive(now int64) bool { return now < r.expire }

// said is what many results have in common. It never changes, but for what its words table keeps of it.
type said struct {
	verdict  Verdict
	reason   Reason
	provider string
	mx       string
	stage    reply.Stage
	label    reply.Label
	catchAll bool
	reply    esmtp.Reply // masked

	key  saidKey
	refs int // records that point here; guarded by words.mu

	// onDisk is until when the store has it (Unix seconds), with the generation of the store's file in
	// the upper half.
	onDisk atomic.Uint64
}

// saidKey identifies a said.
type saidKey struct {
	verdict  Verdict
	reason   Reason
	provider string
	mx       string
	stage    reply.Stage
	label    reply.Label
	catchAll bool
	code     int
	text     string // lines joined by "\n"
}

func keyOfSaid(r *Result, said esmtp.Reply) saidKey {
	return saidKey{
		verdict: r.Verdict, reason: r.Reason, provider: r.Provider, mx: r.MX, stage: r.Stage,
		label: r.Label, catchAll: r.CatchAll, code: said.Code, text: said.Text(),
	}
}

func (k saidKey) said() *said {
	s := &said{
		verdict: k.verdict, reason: k.reason, provider: k.provider, mx: k.mx, stage: k.stage,
		label: k.label, catchAll: k.catchAll, key: k,
	}
	if k.code != 0 || k.text != "" {
		s.reply = esmtp.Reply{Code: k.code, Lines: strings.Split(k.text, "\n")}
	}
	return s
}

// saidCost is what a said takes besides its text: itself, its place in the table, and the headers of
// its lines.
const saidCost = 640

func (k saidKey) cost() int { return saidCost + 2*len(k.text) + len(k.mx) + len(k.provider) }

// words holds each said once, within a bound. When it is full, what comes is kept without its text, and
// beyond that without the name of the server; what is left of it is one of few.
type words struct {
	mu    sync.Mutex
	table map[saidKey]*said
	bytes int
	most  int
}

// take returns the said of k, which is to be given back by release.
func (w *words) take(k saidKey) *said {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.table[k]; ok {
		s.refs++
		return s
	}
	if w.bytes+k.cost() > w.most {
		k.text = ""
		if s, ok := w.table[k]; ok {
			s.refs++
			return s
		}
		if w.bytes+k.cost() > w.most {
			k.mx = ""
		}
	}
	s, ok := w.table[k]
	if !ok {
		s = k.said()
		w.table[k] = s
		w.bytes += k.cost()
	}
	s.refs++
	return s
}

func (w *words) release(s *said) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.refs--; s.refs == 0 {
		delete(w.table, s.key)
		w.bytes -= s.key.cost()
	}
}

// newRecord makes the compact form of an entry but for its said.
func newRecord(e *cache.Entry[Result]) record {
	r := record{
		stored: e.Stored.UnixNano(), expire: e.Expire.UnixNano(), checked: neverChecked,
		refresh:    refreshAfter(e.Refresh.Sub(e.Stored)),
		confidence: tenThousandths(e.Value.Confidence), deliverability: tenThousandths(e.Value.Deliverability),
	}
	if !e.Value.Checked.IsZero() {
		r.checked = e.Value.Checked.UnixNano()
	}
	return r
}

func refreshAfter(d time.Duration) uint32 {
	const most = math.MaxUint32 / 100 * 100 // a whole second, as on disk: 497 days
	return uint32(min(max((d+refreshUnit-1)/refreshUnit, 0), most))
}

func tenThousandths(p float64) uint16 { return uint16(math.Round(min(max(p, 0), 1) * 10_000)) }

// entry writes the full form into e.
func (r *record) entry(e *cache.Entry[Result]) {
	e.Stored, e.Expire = time.Unix(0, r.stored), time.Unix(0, r.expire)
	e.Refresh = e.Stored.Add(time.Duration(r.refresh) * refreshUnit)
	r.result(&e.Value)
}

// result writes the full form of what was found into v.
func (r *record) result(v *Result) {
	s := r.said
	*v = Result{
		Verdict: s.verdict, Reason: s.reason,
		Confidence: float64(r.confidence) / 10_000, Deliverability: float64(r.deliverability) / 10_000,
		Provider: s.provider, MX: s.mx, Stage: s.stage, Reply: s.reply, Label: s.label,
		CatchAll: s.catchAll, Proof: s.verdict == Undeliverable, Expire: time.Unix(0, r.expire),
	}
	if r.checked != neverChecked {
		v.Checked = time.Unix(0, r.checked)
	}
}

// On disk, a record is 28 octets, little-endian: hash of its words 8; stored, refresh and checked 4 each
// (Unix seconds; checked 0: it was not); confidence 2, deliverability 2, and 4 that are reserved. When
// it expires is kept by the store.
const diskRecord = 28

type wordsHash [8]byte

func (r *record) disk(h wordsHash) []byte {
	dst := append(make([]byte, 0, diskRecord), h[:]...)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, unixSeconds(r.stored))
	dst = le.AppendUint32(dst, unixSeconds(r.stored+int64(r.refresh)*int64(refreshUnit)))
	dst = le.AppendUint32(dst, unixSeconds(r.checked))
	dst = le.AppendUint16(dst, r.confidence)
	dst = le.AppendUint16(dst, r.deliverability)
	return le.AppendUint32(dst, 0)
}

// parseDisk reads what record.disk made; said is still to be found.
func parseDisk(b []byte, expire time.Time) (r record, h wordsHash, ok bool) {
	if len(b) < diskRecord {
		return record{}, wordsHash{}, false
	}
	le := binary.LittleEndian
	copy(h[:], b)
	stored, refresh, checked := le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])
	r = record{
		stored: int64(stored) * 1e9, expire: expire.UnixNano(), checked: neverChecked,
		refresh:    refreshAfter(time.Duration(int64(refresh)-int64(stored)) * time.Second),
		confidence: le.Uint16(b[20:]), deliverability: le.Uint16(b[22:]),
	}
	if checked != 0 {
		r.checked = int64(checked) * 1e9
	}
	return r, h, r.confidence <= 10_000 && r.deliverability <= 10_000
}

func unixSeconds(nano int64) uint32 {
	return uint32(min(max(nano/1e9, 0), math.MaxUint32))
}

// disk is the words as they are on disk: each string with its length, the code among them. What a later version
// adds comes behind.
func (k saidKey) disk() []byte {
	var dst []byte
	for _, s := range []string{
		string(k.verdict), string(k.reason), k.provider, k.mx, string(k.stage), string(k.label), k.text,
	} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	dst = binary.AppendUvarint(dst, uint64(max(0, k.code)))
	if k.catchAll {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// parseSaid reads what saidKey.disk made. ok is false for what is no verdict that this version
// knows.
func parseSaid(b []byte) (k saidKey, ok bool) {
	var verdict, reason, stage, label string
	for _, into := range []*string{&verdict, &reason, &k.provider, &k.mx, &stage, &label, &k.text} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) { //nolint:gosec // size is at most len(b)
			return saidKey{}, false
		}
		end := size + int(n) //nolint:gosec // at most len(b)
		*into, b = string(b[size:end]), b[end:]
	}
	code, size := binary.Uvarint(b)
	if size <= 0 || code > 999 || len(b) <= size {
		return saidKey{}, false
	}
	k.verdict, k.reason = Verdict(verdict), Reason(reason)
	k.stage, k.label = reply.Stage(stage), reply.Label(label)
	k.code, k.catchAll = int(code), b[size] == 1
	switch k.verdict {
	case Deliverable, Undeliverable, Risky:
		return k, k.reason != ""
	default: // what is not known is not kept on disk
		return saidKey{}, false
	}
}

func hashWords(b []byte) (h wordsHash) {
	sum := sha256.Sum256(b)
	copy(h[:], sum[:])
	return h
}
