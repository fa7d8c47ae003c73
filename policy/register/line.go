package register

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// The files have one entry a line, its fields between tabs. No field has a tab or a line break:
// what comes from elsewhere was escaped.
const (
	entryMark  = "+"
	removeMark = "-"
	never      = "never"
)

// LineError is a line that was not taken, of a file or of what is imported.
type LineError struct {
	Line   int // from 1
	Detail string
}

// Error is "line 7: detail".
func (e LineError) Error() string { return "line " + strconv.Itoa(e.Line) + ": " + e.Detail }

// change is what becomes of a key: a record, or with nil none.
type change struct {
	key    string
	record *record
}

func (c change) appendLine(dst []byte) []byte {
	if c.record != nil {
		return c.record.appendLine(dst)
	}
	address, scope := splitKey(c.key)
	return fmt.Appendf(dst, "%s\t%s\t%s\n", removeMark, address, scope)
}

const entryColumns = "address\tscope\treason\treply\tbounces\tcreated\texpires\tsource\tevidence"

func (r *record) appendLine(dst []byte) []byte {
	dst = append(append(dst, entryMark...), '\t')
	dst = append(append(dst, r.address()...), '\t')
	dst = append(append(dst, r.scope().String()...), '\t')
	dst = append(append(dst, reasons[r.reason]...), '\t')
	dst = append(appendReply(dst, int(r.code), r.enhancedCode()), '\t')
	dst = append(strconv.AppendUint(dst, uint64(r.bounces), 10), '\t')
	dst = append(appendTime(dst, r.created), '\t')
	if r.expires == 0 {
		dst = append(dst, never...)
	} else {
		dst = appendTime(dst, r.expires)
	}
	dst = append(append(append(dst, '\t'), r.source.Value()...), '\t')
	return append(append(dst, r.evidence()...), '\n')
}

// parseLine is appendLine's inverse. A record that need not be remembered any more is a change to
// none.
func parseLine(line string, now int64) (change, error) {
	var fields [10]string
	n := cutFields(line, fields[:])
	switch {
	case fields[0] == removeMark && n == 3:
		scope, err := ParseScope(fields[2])
		if err != nil {
			return change{}, err
		}
		var room [keyRoom]byte
		key, _, err := appendKey(room[:0], fields[1], scope, false)
		return change{key: string(key)}, err
	case fields[0] == entryMark && n == len(fields):
		r, err := parseEntry(fields[1:])
		if err != nil {
			return change{}, err
		}
		if !r.remembered(now) {
			return change{key: r.key()}, nil
		}
		return change{r.key(), r}, nil
	default:
		return change{}, errors.New(`it is neither "+" and nine fields nor "-" and two, between tabs`)
	}
}

func parseEntry(f []string) (*record, error) {
	s := Suppression{Address: f[0], Reason: Reason(f[2]), Source: f[7], Evidence: f[8]}
	var err error
	if s.Scope, err = ParseScope(f[1]); err != nil {
		return nil, err
	}
	if s.Code, s.Enhanced, err = parseReply(f[3]); err != nil {
		return nil, err
	}
	if s.Bounces, err = strconv.Atoi(f[4]); err != nil {
		return nil, &FieldError{"bounces", quote(f[4]) + " is no number", ""}
	}
	if s.Created, err = parseTime(f[5]); err != nil {
		return nil, err
	}
	if f[6] != never {
		if s.Expires, err = parseTime(f[6]); err != nil {
			return nil, err
		}
	}
	return newRecord(&s)
}

// cutFields cuts a line at its tabs and returns how many fields it has, one too many if they are
// more than there is room for.
func cutFields(line string, fields []string) int {
	for i := range fields {
		end := strings.IndexByte(line, '\t')
		if end < 0 {
			fields[i] = line
			return i + 1
		}
		fields[i], line = line[:end], line[end+1:]
	}
	return len(fields) + 1
}

// appendReply writes "550 5.1.1", "550" or nothing.
func appendReply(dst []byte, code int, enhanced esmtp.EnhancedCode) []byte {
	if code == 0 {
		return dst
	}
	dst = strconv.AppendInt(dst, int64(code), 10)
	if e := enhanced.String(); e != "" {
		dst = append(append(dst, ' '), e...)
	}
	return dst
}

func parseReply(s string) (code int, enhanced esmtp.EnhancedCode, err error) {
	if s == "" {
		return 0, esmtp.EnhancedCode{}, nil
	}
	basic, rest, more := strings.Cut(s, " ")
	code, err = strconv.Atoi(basic)
	ok := err == nil && len(basic) == len("550")
	if more && ok {
		enhanced, ok = esmtp.ParseEnhancedCode(rest)
	}
	if !ok {
		return 0, esmtp.EnhancedCode{}, &FieldError{
			"reply", quote(s) + " is no reply", `write "550 5.1.1" or "550"`,
		}
	}
	return code, enhanced, nil
}

func appendTime(dst []byte, seconds int64) []byte {
	return time.Unix(seconds, 0).UTC().AppendFormat(dst, time.RFC3339)
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, &FieldError{
			"time", quote(s) + " is no time", "write 2026-12-31T00:00:00Z",
		}
	}
	return t, nil
}
