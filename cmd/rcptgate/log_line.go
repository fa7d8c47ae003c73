package main

import (
	"context"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// lineHandler writes the very lines of slog's own handlers, text or JSON, at a fraction of their
// time: every recipient is a line, and the log was a quarter of what a recipient costs. What is
// not plain (groups, times, errors, octets to be escaped) it leaves to slog's handler.
type lineHandler struct {
	out    *lineOutput
	json   bool
	prefix []byte // of the attributes that every line has, with what separates them from the message

	// How slog's handler with the same attributes is made when it is needed.
	parent *lineHandler
	attrs  []slog.Attr
	once   sync.Once
	std    slog.Handler
	plain  bool // prefix has all attributes
}

// lineOutput is what handlers of one log share. A line is one Write.
type lineOutput struct {
	mu     sync.Mutex
	w      io.Writer
	line   []byte
	second int64  // of stamp
	stamp  []byte // that second in the local zone, as in RFC 3339
	zone   int    // where in stamp the zone begins
	before before
}

// before is the last plain line that was written: lines that follow each other have much in common.
type before struct {
	line  []byte
	attrs [maxPlain]slog.Attr
	ends  [maxPlain]int // in line, of what there is of attrs
	start int           // of attrs in line
	n     int           // how many there are
}

// has reports whether the attribute at i was the same.
func (l *before) has(i int, a *slog.Attr) bool {
	if i >= l.n {
		return false
	}
	b := &l.attrs[i]
	kind := a.Value.Kind()
	if b.Key != a.Key || b.Value.Kind() != kind {
		return false
	}
	switch kind { //nolint:exhaustive // the others are not plain
	case slog.KindString:
		return b.Value.String() == a.Value.String()
	case slog.KindInt64:
		return b.Value.Int64() == a.Value.Int64()
	case slog.KindUint64:
		return b.Value.Uint64() == a.Value.Uint64()
	case slog.KindBool:
		return b.Value.Bool() == a.Value.Bool()
	case slog.KindFloat64: // two zeros may differ by their sign; NaN is never plain
		x, y := b.Value.Float64(), a.Value.Float64()
		return x == y && x != 0
	}
	return false
}

// Write is for slog's handler.
func (o *lineOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

func newLineHandler(w io.Writer, json bool) *lineHandler {
	h := &lineHandler{out: &lineOutput{w: w, second: math.MinInt64}, json: json, plain: true}
	options := &slog.HandlerOptions{Level: slog.LevelDebug} // the levels decide
	if h.std = slog.NewTextHandler(h.out, options); json {
		h.std = slog.NewJSONHandler(h.out, options)
	}
	return h
}

// Enabled lets all pass.
func (h *lineHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle writes a line.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.NumAttrs() > maxPlain {
		return h.slog().Handle(ctx, r)
	}
	var room [maxPlain]slog.Attr
	attrs := room[:0]
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	if done, err := h.write(r.Time, r.Level, r.Message, attrs); done {
		return err
	}
	return h.slog().Handle(ctx, r)
}

// maxPlain is how many attributes a line that comes as a record may have to be written here.
const maxPlain = 24

// HandleAttrs is Handle without a record, which would be garbage.
func (h *lineHandler) HandleAttrs(
	ctx context.Context, at time.Time, level slog.Level, message string, attrs []slog.Attr,
) error {
	if done, err := h.write(at, level, message, attrs); done {
		return err
	}
	r := slog.NewRecord(at, level, message, 0)
	r.AddAttrs(attrs...)
	return h.slog().Handle(ctx, r)
}

// WithAttrs returns a handler whose lines have attrs too.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	child := &lineHandler{out: h.out, json: h.json, parent: h, attrs: slices.Clone(attrs)}
	if h.plain {
		prefix := append(make([]byte, 0, len(h.prefix)+40*len(attrs)), h.prefix...)
		child.prefix, child.plain = child.appendAttrs(prefix, attrs)
	}
	return child
}

// WithGroup leaves the lines to slog: the gate has no groups.
func (h *lineHandler) WithGroup(name string) slog.Handler { return h.slog().WithGroup(name) }

// slog is slog's handler for the same lines.
func (h *lineHandler) slog() slog.Handler {
	h.once.Do(func() {
		if h.std == nil {
			h.std = h.parent.slog().WithAttrs(h.attrs)
		}
	})
	return h.std
}

// write writes a plain line; false: it is not plain.
func (h *lineHandler) write(
	at time.Time, level slog.Level, message string, attrs []slog.Attr,
) (bool, error) {
	if !h.plain || at.IsZero() || at.Location() != time.Local {
		return false, nil
	}
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	dst, ok := h.appendHead(o.line[:0], at, level, message)
	if ok {
		dst, ok = h.appendLike(append(dst, h.prefix...), attrs)
	}
	if !ok {
		o.line = dst[:0]
		return false, nil
	}
	if h.json {
		dst = append(dst, '}')
	}
	dst = append(dst, '\n')
	_, err := o.w.Write(dst)
	if o.line, o.before.line = o.before.line, dst; cap(dst) > logBatch {
		o.before.line, o.before.n = nil, 0
	}
	return true, err
}

// appendHead appends what each line begins with.
func (h *lineHandler) appendHead(
	dst []byte, at time.Time, level slog.Level, message string,
) (_ []byte, ok bool) {
	name := level.String()
	if h.json {
		dst = append(dst, `{"time":"`...)
		dst = h.out.appendTime(dst, at, true)
		dst = append(append(dst, `","level":"`...), name...)
		dst = append(dst, `","msg":`...)
	} else {
		dst = append(dst, "time="...)
		dst = h.out.appendTime(dst, at, false)
		dst = append(append(dst, " level="...), name...)
		dst = append(dst, " msg="...)
	}
	return h.appendString(dst, message)
}

// appendTime is RFC 3339: for text with milliseconds, for JSON with the digits that there are.
func (o *lineOutput) appendTime(dst []byte, at time.Time, json bool) []byte {
	if o.second != at.Unix() {
		o.second = at.Unix()
		o.stamp = at.AppendFormat(o.stamp[:0], time.RFC3339)
		o.zone = len("2006-01-02T15:04:05")
	}
	dst = append(dst, o.stamp[:o.zone]...)
	fraction, digits := at.Nanosecond(), 9
	if !json {
		fraction, digits = fraction/int(time.Millisecond), 3
	}
	dst = append(dst, ".000000000"[:digits+1]...)
	for i := len(dst) - 1; fraction > 0; i-- {
		dst[i] += byte(fraction % 10)
		fraction /= 10
	}
	if json {
		end := len(dst)
		for dst[end-1] == '0' {
			end--
		}
		if dst[end-1] == '.' {
			end--
		}
		dst = dst[:end]
	}
	return append(dst, o.stamp[o.zone:]...)
}

// appendLike is appendAttrs for those of a line, which may be much like the line before.
func (h *lineHandler) appendLike(dst []byte, attrs []slog.Attr) (_ []byte, ok bool) {
	last := &h.out.before
	start, from := len(dst), last.start // of the attribute at hand in the line before
	for i := 0; i < len(attrs); i++ {
		if i == maxPlain {
			last.n = 0
			return h.appendAttrs(dst, attrs[i:])
		}
		end := last.ends[i]
		if last.has(i, &attrs[i]) {
			begin, moved := from, len(dst)-from
			for from = end; ; from = last.ends[i] { // as many as there are
				last.ends[i] += moved
				if i+1 >= len(attrs) || !last.has(i+1, &attrs[i+1]) {
					break
				}
				i++
			}
			dst = append(dst, last.line[begin:from]...)
			continue
		}
		if dst, ok = h.appendAttr(dst, &attrs[i]); !ok {
			last.n = 0
			return dst, false
		}
		last.attrs[i], last.ends[i] = attrs[i], len(dst)
		from = end
	}
	last.start, last.n = start, len(attrs)
	return dst, true
}

// appendAttrs appends attributes, each with the separator before it.
func (h *lineHandler) appendAttrs(dst []byte, attrs []slog.Attr) (_ []byte, ok bool) {
	for i := range attrs {
		if dst, ok = h.appendAttr(dst, &attrs[i]); !ok {
			return dst, false
		}
	}
	return dst, true
}

func (h *lineHandler) appendAttr(dst []byte, a *slog.Attr) (_ []byte, ok bool) {
	if a.Key == "" || !plainWord(a.Key) {
		return dst, false
	}
	if h.json {
		dst = append(append(append(dst, `,"`...), a.Key...), `":`...)
	} else {
		dst = append(append(append(dst, ' '), a.Key...), '=')
	}
	switch a.Value.Kind() { //nolint:exhaustive // the others are left to slog
	case slog.KindString:
		return h.appendString(dst, a.Value.String())
	case slog.KindInt64:
		return strconv.AppendInt(dst, a.Value.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(dst, a.Value.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(dst, a.Value.Bool()), true
	case slog.KindFloat64:
		f := a.Value.Float64()
		if f == 0 || math.Abs(f) >= 1e-4 && math.Abs(f) < 1e6 { // one form in text and JSON
			return appendFloat(dst, f), true
		}
	}
	return dst, false
}

// appendFloat appends f, which is 0 or from 1e-4 to 1e6, with the fewest digits that mean it. Most
// have four decimals at most: no other decimal of so few digits is the same float64 then.
func appendFloat(dst []byte, f float64) []byte {
	const unit = 10_000
	n := int64(f*unit + 0.5)
	if f <= 0 || float64(n)/unit != f {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendInt(dst, n/unit, 10)
	if n %= unit; n == 0 {
		return dst
	}
	dst = append(dst, ".0000"...)
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] += byte(n % 10)
		n /= 10
	}
	end := len(dst)
	for dst[end-1] == '0' {
		end--
	}
	return dst[:end]
}

// appendString appends a string that needs no escapes, in quotes where the format has them.
func (h *lineHandler) appendString(dst []byte, s string) (_ []byte, ok bool) {
	if !h.json && s != "" && plainWord(s) {
		return append(dst, s...), true
	}
	if !printable(s) {
		return dst, false
	}
	return append(append(append(dst, '"'), s...), '"'), true
}

// The octets that stand for themselves between quotes, and those that do without quotes in text.
var printableOctets, wordOctets = func() (printable, word [256]bool) {
	for c := ' '; c <= '~'; c++ {
		printable[c] = c != '"' && c != '\\'
		word[c] = printable[c] && c != ' ' && c != '='
	}
	return printable, word
}()

// ellipsis is in every address that is redacted.
const ellipsis = "…"

// plainWord reports whether slog writes s in text as it is.
func plainWord(s string) bool { return only(s, &wordOctets) }

// printable reports whether slog writes s between quotes as it is, in text and in JSON.
func printable(s string) bool { return only(s, &printableOctets) }

func only(s string, octets *[256]bool) bool {
	for i := range len(s) {
		if !octets[s[i]] {
			return onlyFrom(s, i, octets)
		}
	}
	return true
}

// onlyFrom is only for what has an octet at i that does not stand for itself.
func onlyFrom(s string, i int, octets *[256]bool) bool {
	for i < len(s) {
		if octets[s[i]] {
			i++
			continue
		}
		if s[i] < utf8.RuneSelf {
			return false
		}
		if strings.HasPrefix(s[i:], ellipsis) {
			i += len(ellipsis)
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
		i += n
	}
	return true
}
