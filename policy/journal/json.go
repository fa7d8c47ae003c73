package journal

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Limits of a line, in octets once escaped. All together they keep it under maxLine.
const (
	maxText   = 1024 // of a text; Reply.String has no more
	maxShort  = 512  // of a text of which there may be many
	maxName   = 128  // of a mark
	maxMarks  = 32
	maxHeader = 16
	maxChecks = 32
)

// lineWriter writes one JSON object. Every text is escaped for people first, so that JSON has only
// quotes and backslashes left to escape. scratch is reused from line to line.
type lineWriter struct {
	b       []byte
	scratch []byte
	days    days
}

func (l *lineWriter) key(name string) {
	if n := len(l.b); l.b[n-1] != '{' && l.b[n-1] != '[' {
		l.b = append(l.b, ',')
	}
	l.b = append(append(append(l.b, '"'), name...), `":`...)
}

// text writes a field, unless it is "".
func (l *lineWriter) text(name, value string) { l.cutText(name, value, maxText) }

func (l *lineWriter) cutText(name, value string, limit int) {
	if value != "" {
		l.key(name)
		l.value(value, limit)
	}
}

// octets is text for what stands in the scratch, escaped already.
func (l *lineWriter) octets(name string, value []byte) {
	if len(value) > 0 {
		l.key(name)
		l.quote(value, maxText)
	}
}

// value writes a string, escaped and cut.
func (l *lineWriter) value(s string, limit int) {
	if len(s) <= limit && isPlain(s) {
		l.b = append(append(append(l.b, '"'), s...), '"')
		return
	}
	if len(s) > limit {
		s = s[:limit] // escaping makes nothing shorter
	}
	l.scratch = esmtp.AppendEscaped(l.scratch[:0], s, true)
	l.quote(l.scratch, limit)
}

// plain is octets for what isPlain and short enough.
func (l *lineWriter) plain(name string, value []byte) {
	l.key(name)
	l.b = append(append(append(l.b, '"'), value...), '"')
}

// quote writes what is printable UTF-8 as a JSON string, cut.
func (l *lineWriter) quote(s []byte, limit int) {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	l.b = append(l.b, '"')
	from := 0
	for i, c := range s {
		if c == '"' || c == '\\' {
			l.b = append(append(l.b, s[from:i]...), '\\')
			from = i
		}
	}
	l.b = append(append(l.b, s[from:]...), '"')
}

// isPlain reports whether s stands for itself in a JSON string and needs no escape for people.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (l *lineWriter) number(name string, n int64) {
	if n != 0 {
		l.key(name)
		l.b = strconv.AppendInt(l.b, n, 10)
	}
}

// tenThousand is the unit of shares.
const tenThousand = 10_000

// shareOf is a number between 0 and 1, to four digits.
func shareOf(f float64) uint16 {
	if !(f > 0) { // what is no number, too
		return 0
	}
	return uint16(min(f*tenThousand+0.5, tenThousand))
}

// share writes a share, unless it is 0.
func (l *lineWriter) share(name string, share uint16) {
	if share == 0 {
		return
	}
	l.key(name)
	if share >= tenThousand {
		l.b = append(l.b, '1')
		return
	}
	l.b = append(l.b, "0."...)
	for unit := uint16(tenThousand / 10); share > 0; unit /= 10 {
		l.b = append(l.b, digits[share/unit])
		share %= unit
	}
}

func (l *lineWriter) flag(name string, set bool) {
	if set {
		l.key(name)
		l.b = append(l.b, "true"...)
	}
}

// The Unix times in ms of the first moment of year 1, which is the zero time, and of year 10000.
const (
	zeroTime  = -62_135_596_800_000
	afterTime = 253_402_300_800_000
)

// time writes a time in UTC to the millisecond, RFC 3339, unless it is zero or beyond what that can
// say.
func (l *lineWriter) time(name string, t time.Time) { l.ms(name, t.UnixMilli()) }

// ms is time for a Unix time in ms.
func (l *lineWriter) ms(name string, at int64) {
	if at <= zeroTime || at >= afterTime {
		return
	}
	l.key(name)
	const msOfDay = 24 * 60 * 60 * 1000
	day, rest := at/msOfDay, at%msOfDay
	if rest < 0 {
		day, rest = day-1, rest+msOfDay
	}
	l.b = append(append(append(l.b, '"'), l.days.of(day)...), 'T')
	ms := int(rest)
	l.b = append(twoDigits(l.b, ms/3_600_000), ':')
	l.b = append(twoDigits(l.b, ms/60_000%60), ':')
	l.b = append(twoDigits(l.b, ms/1000%60), '.', digits[ms/100%10])
	l.b = append(twoDigits(l.b, ms%100), 'Z', '"')
}

const digits = "0123456789"

func twoDigits(dst []byte, n int) []byte { return append(dst, digits[n/10], digits[n%10]) }

// days are the dates of the last days: most entries are about a few.
type days [4]struct {
	day  int64 // since 1970
	text [len("2006-01-02")]byte
}

func (d *days) of(day int64) []byte {
	known := &d[day&3]
	if known.day != day || known.text[0] == 0 {
		known.day = day
		time.Unix(day*24*60*60, 0).UTC().AppendFormat(known.text[:0], time.DateOnly)
	}
	return known.text[:]
}

func (l *lineWriter) open(name string) {
	l.key(name)
	l.b = append(l.b, '{')
}

func (l *lineWriter) close() { l.b = append(l.b, '}') }
