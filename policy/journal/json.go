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
	second  int64 // of stamp
	stamp   [len("2006-01-02T15:04:05")]byte
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

// quote writes what is printable UTF-8 as a JSON string, cut.
func (l *lineWriter) quote(s []byte, limit int) {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	l.b = append(l.b, '"')
	for _, c := range s {
		if c == '"' || c == '\\' {
			l.b = append(l.b, '\\')
		}
		l.b = append(l.b, c)
	}
	l.b = append(l.b, '"')
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

// share writes a number between 0 and 1, to four digits.
func (l *lineWriter) share(name string, f float64) {
	ten := int64(f*10000 + 0.5)
	if ten <= 0 || ten > 10000 {
		if ten <= 0 {
			return
		}
		ten = 10000
	}
	l.key(name)
	l.b = strconv.AppendFloat(l.b, float64(ten)/10000, 'f', -1, 64)
}

func (l *lineWriter) flag(name string, set bool) {
	if set {
		l.key(name)
		l.b = append(l.b, "true"...)
	}
}

// time writes a time in UTC to the millisecond, RFC 3339, unless it is zero or beyond what that can
// say.
func (l *lineWriter) time(name string, t time.Time) {
	t = t.UTC()
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return
	}
	l.key(name)
	if l.second != t.Unix() || l.stamp[0] == 0 {
		l.second = t.Unix()
		t.AppendFormat(l.stamp[:0], "2006-01-02T15:04:05")
	}
	l.b = append(append(append(l.b, '"'), l.stamp[:]...), '.')
	ms := t.Nanosecond() / int(time.Millisecond)
	for _, unit := range [...]int{100, 10, 1} {
		l.b = append(l.b, "0123456789"[ms/unit%10])
	}
	l.b = append(l.b, 'Z', '"')
}

func (l *lineWriter) open(name string) {
	l.key(name)
	l.b = append(l.b, '{')
}

func (l *lineWriter) close() { l.b = append(l.b, '}') }
