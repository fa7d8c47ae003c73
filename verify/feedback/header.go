package feedback

import (
	"bytes"
	"strings"
	"time"
)

// header is what comes before the message of a line.
type header struct {
	label   []byte // "postfix/smtp"
	message []byte
	when    []byte // "Nov 24 11:00:00", or RFC 3339
}

// cutHeader reads the start of a line in one of the forms that syslog daemons write:
//
//	Nov 24 11:00:00 host postfix/smtp[123]: message            RFC 3164, Postfix's maillog_file
//	2026-11-24T11:00:00.123456+00:00 host postfix/smtp[123]: message      rsyslog, Debian 12 on
//	<22>1 2026-11-24T11:00:00.123Z host postfix/smtp 123 - - message      RFC 5424
//
// A priority "<22>" may stand before the others, too.
func cutHeader(line []byte) (h header, ok bool) {
	line = bytes.TrimLeft(line, "\x00") // a hole where a log was truncated under its writer
	if len(line) > 0 && line[0] == '<' {
		end := bytes.IndexByte(line, '>')
		if end < 2 || end > 4 {
			return header{}, false
		}
		line = line[end+1:]
		if bytes.HasPrefix(line, []byte("1 ")) {
			return cutSyslog5424(line[2:])
		}
	}
	const stamp = len("Nov 24 11:00:00")
	switch {
	case len(line) <= stamp:
		return header{}, false
	case isDigit(line[0]):
		if h.when, line, ok = cutWord(line); !ok {
			return header{}, false
		}
	case line[stamp] == ' ' && line[3] == ' ' && line[6] == ' ':
		h.when, line = line[:stamp], line[stamp+1:]
	default:
		return header{}, false
	}
	if _, line, ok = cutWord(line); !ok { // the host
		return header{}, false
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 || colon+1 >= len(line) || line[colon+1] != ' ' {
		return header{}, false
	}
	h.label, h.message = line[:colon], line[colon+2:]
	if pid := bytes.IndexByte(h.label, '['); pid >= 0 {
		h.label = h.label[:pid]
	}
	if bytes.HasPrefix(h.message, []byte("[ID ")) { // Solaris: "[ID 197553 mail.info] "
		if _, rest, found := bytes.Cut(h.message, []byte("] ")); found {
			h.message = rest
		}
	}
	return h, true
}

// cutSyslog5424 reads what follows the version (RFC 5424 section 6).
func cutSyslog5424(line []byte) (h header, ok bool) {
	var words [5][]byte // time, host, application, process, message id
	for i := range words {
		if words[i], line, ok = cutWord(line); !ok {
			return header{}, false
		}
	}
	h.when, h.label = words[0], words[2]
	if h.message, ok = skipStructuredData(line); !ok {
		return header{}, false
	}
	return h, true
}

// skipStructuredData takes "-" or elements in brackets off, and the blank behind them.
func skipStructuredData(line []byte) ([]byte, bool) {
	if rest, ok := bytes.CutPrefix(line, []byte("- ")); ok {
		return bytes.TrimPrefix(rest, []byte("\ufeff")), true
	}
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case i == 0 && c != '[':
			return nil, false
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == ' ' && line[i-1] == ']':
			return bytes.TrimPrefix(line[i+1:], []byte("\ufeff")), true
		}
	}
	return nil, false
}

func cutWord(b []byte) (word, rest []byte, ok bool) {
	i := bytes.IndexByte(b, ' ')
	if i <= 0 {
		return nil, nil, false
	}
	return b[:i], b[i+1:], true
}

// time reads the time stamp; now where there is none that can be read.
func (h header) time(now time.Time) time.Time {
	if len(h.when) > 0 && isDigit(h.when[0]) {
		if t, err := time.Parse(time.RFC3339Nano, string(h.when)); err == nil {
			return t
		}
		return now
	}
	t, err := time.ParseInLocation("Jan _2 15:04:05 2006", string(h.when)+" 2000", now.Location())
	if err != nil {
		return now
	}
	// The day after tomorrow is no clock that is ahead, but last year's. Feb 29 needs a leap year.
	year := now.Year() + 1
	for range 8 {
		in := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, t.Location())
		if in.Month() == t.Month() && in.Before(now.AddDate(0, 0, 2)) {
			return in
		}
		year--
	}
	return now
}

// labelKind is what a program that logs has to tell us.
type labelKind byte

const (
	otherLabel    labelKind = iota
	deliveryAgent           // what happened to recipients
	queueManager            // senders; recipients that it defers itself
)

// labels sorts the programs that log by their names. Few of them write most lines, so the answers
// are kept.
type labels struct {
	patterns []string // of delivery agents; nil: Postfix's
	known    map[string]labelKind
}

// maxLabels bounds the names that are kept.
const maxLabels = 256

func newLabels(patterns []string) (labels, error) {
	for _, p := range patterns {
		if p == "" || strings.ContainsAny(p, " []:") || strings.Count(p, "*") > 1 {
			return labels{}, &ConfigError{
				Field: "Labels", Value: p,
				Fix: `write what the log has before "[": "postfix/smtp", "postfix-out/relay/smtp", ` +
					`or one * for any text: "postfix*/smtp"`,
			}
		}
	}
	return labels{patterns: patterns, known: make(map[string]labelKind)}, nil
}

func (l *labels) kind(label []byte) labelKind {
	if k, ok := l.known[string(label)]; ok {
		return k
	}
	k := l.sort(string(label))
	if len(l.known) < maxLabels {
		l.known[string(label)] = k
	}
	return k
}

func (l *labels) sort(label string) labelKind {
	program := label[strings.LastIndexByte(label, '/')+1:]
	if program == "qmgr" || program == "oqmgr" {
		return queueManager
	}
	if l.patterns == nil {
		if strings.HasPrefix(label, "postfix") && isAgent(program) {
			return deliveryAgent
		}
		return otherLabel
	}
	for _, p := range l.patterns {
		head, tail, star := strings.Cut(p, "*")
		if label == p || star && len(label) >= len(head)+len(tail) &&
			strings.HasPrefix(label, head) && strings.HasSuffix(label, tail) {
			return deliveryAgent
		}
	}
	return otherLabel
}

// isAgent reports a program of master.cf that delivers.
func isAgent(program string) bool {
	switch program {
	case "smtp", "lmtp", "relay", "error", "retry", "virtual", "local", "pipe", "bounce", "discard":
		return true
	}
	return false
}
