package register

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// column is what a column of a CSV file says.
type column uint8

const (
	ignored column = iota
	colAddress
	colReason
	colScope
	colExpires
	colEvidence
	colSource
	colCreated
	colReply
	colBounces
	colStatus // SendGrid: an enhanced code; listmonk: what a subscriber is
	colTags   // Mailgun: what was unsubscribed from
	columnEnd
)

// exportColumns are the columns of an export, and those of a file without a header line.
var exportColumns = [...]column{
	colAddress, colReason, colScope, colExpires, colEvidence, colSource, colCreated, colReply,
	colBounces,
}

var exportHeader = []string{
	"address", "reason", "scope", "expires", "evidence", "source", "created", "reply", "bounces",
}

// columnOf knows the names that columns have: ours, and those of other programs. Case, blanks, "_"
// and "-" do not matter.
func columnOf(name string) column {
	switch squeeze(name) {
	case "address", "email", "emailaddress", "recipient":
		return colAddress
	case "reason", "suppressionreason", "type", "bouncetype":
		return colReason
	case "scope":
		return colScope
	case "expires", "expiresat":
		return colExpires
	case "evidence", "error", "detail", "details", "description", "diagnosticcode":
		return colEvidence
	case "source", "origin":
		return colSource
	case "created", "createdat", "bouncedat", "lastupdatetime", "date", "timestamp":
		return colCreated
	case "reply", "code":
		return colReply
	case "bounces":
		return colBounces
	case "status":
		return colStatus
	case "tags", "tag":
		return colTags
	default:
		return ignored
	}
}

// squeeze is a word without case and without what people put between its parts.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == ' ' || r == '_' || r == '-':
			return -1
		default:
			return r
		}
	}, s)
}

// columns is where a file has what; nil is as exportColumns.
type columns []column

// parseHeader looks at a file's first row. If it has an address, it is no header. unknown are the
// names that say nothing to us.
func parseHeader(cells []string) (cols columns, header bool, unknown []string, err error) {
	for _, cell := range cells {
		if strings.Contains(cell, "@") {
			return exportColumns[:], false, nil, nil
		}
	}
	var seen [columnEnd]bool
	cols = make(columns, len(cells))
	for i, cell := range cells {
		c := columnOf(cell)
		if c == ignored || seen[c] {
			unknown = append(unknown, escape(cut(cell, MaxSource)))
			continue
		}
		seen[c] = true
		cols[i] = c
	}
	if !seen[colAddress] {
		return nil, false, nil, errors.New("the first line neither has an address nor names a column " +
			`for it: name one "address" or "email"`)
	}
	return cols, true, unknown, nil
}

func (cols columns) has(c column) bool {
	return slices.Contains(cols, c)
}

// skipped is why a row is none that suppresses.
type skipped string

// Error is the reason.
func (s skipped) Error() string { return string(s) }

const errSoft = skipped("a temporary failure suppresses nobody")

// suppression reads a row. The error is skipped if the row itself says that it does not suppress.
func (cols columns) suppression(cells []string, opts *ImportOptions, now time.Time) (
	s Suppression, err error,
) {
	if len(cells) > len(cols) && strings.Join(cells[len(cols):], "") != "" {
		return s, errors.New("it has more cells than there are columns: is there a comma without quotes?")
	}
	var row [columnEnd]string
	for i, cell := range cells[:min(len(cells), len(cols))] {
		row[cols[i]] = strings.TrimSpace(cell)
	}
	s = Suppression{
		Address: bareAddress(row[colAddress]), Scope: opts.Scope, Reason: opts.Reason,
		Evidence: row[colEvidence], Source: opts.Source, Created: now, Expires: opts.Expires,
	}
	// In a whole row of ours an empty source is one.
	if row[colSource] != "" || cols.has(colBounces) && len(cells) == len(exportColumns) {
		s.Source = row[colSource]
	}
	if err = s.readTimes(&row, now); err != nil {
		return s, err
	}
	if row[colScope] != "" {
		if s.Scope, err = ParseScope(row[colScope]); err != nil {
			return s, err
		}
	}
	if row[colBounces] != "" {
		if s.Bounces, err = strconv.Atoi(row[colBounces]); err != nil {
			return s, &FieldError{"bounces", quote(row[colBounces]) + " is no number", ""}
		}
	}
	if tags := strings.Trim(row[colTags], `[]"' `); tags != "" && tags != "*" {
		return s, skipped("it is about the tag " + quote(tags) + " only: take out the column to " +
			"suppress all mail")
	}
	return s, s.readReason(&row, cols)
}

// bareAddress takes the address out of "<...>" and "mailto:".
func bareAddress(s string) string {
	if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") {
		s = s[1 : len(s)-1]
	}
	return strings.TrimPrefix(s, "mailto:")
}

func (s *Suppression) readTimes(row *[columnEnd]string, now time.Time) (err error) {
	if text := row[colCreated]; text != "" {
		if s.Created, err = parseAnyTime("created", text); err != nil {
			return err
		}
		if s.Created.IsZero() { // as Mailgun says that it does not know
			s.Created = now
		}
	}
	switch text := row[colExpires]; text {
	case "": // as the options say
	case never:
		s.Expires = time.Time{}
	default:
		s.Expires, err = parseAnyTime("expires", text)
	}
	return err
}

// readReason reads what the row says of why, and of the reply.
func (s *Suppression) readReason(row *[columnEnd]string, cols columns) error {
	if text := row[colReason]; text != "" {
		switch reason, known := reasonOf(text); {
		case known && reason == "":
			return errSoft
		case known:
			s.Reason = reason
		case !strings.Contains(text, " "):
			return &FieldError{
				"reason", quote(text) + " is no reason",
				"valid: hard_bounce, complaint, unsubscribe, manual, import",
			}
		case s.Evidence == "": // SendGrid: the reply, or words of its own
			s.Evidence = text
		}
	}
	if !cols.has(colReply) {
		if s.Reason == HardBounce || s.Reason == Import {
			s.Code, s.Enhanced = replyIn(s.Evidence)
		}
	} else if err := s.readCode(row[colReply], cols); err != nil {
		return err
	}
	if err := s.readStatus(row[colStatus]); err != nil {
		return err
	}
	switch {
	case s.Code/100 == 4:
		return errSoft
	case s.Code/100 != 5:
		s.Code, s.Enhanced = 0, esmtp.EnhancedCode{}
	case s.Reason == Import && row[colReason] != string(Import):
		s.Reason = HardBounce // a refusal, and nothing else is said
	}
	return nil
}

// readCode reads the reply, or the code of Mailgun, that has some of its own beyond 599: they say
// nothing, but the error beside them may.
func (s *Suppression) readCode(text string, cols columns) (err error) {
	if n, err := strconv.Atoi(text); err == nil && (n < 400 || n > 599) {
		return nil
	}
	if s.Code, s.Enhanced, err = parseReply(text); err != nil || cols.has(colBounces) {
		return err
	}
	if code, enhanced := replyIn(s.Evidence); code == s.Code && s.Enhanced == (esmtp.EnhancedCode{}) {
		s.Enhanced = enhanced
	}
	return nil
}

func (s *Suppression) readStatus(text string) error {
	if text == "" {
		return nil
	}
	if e, ok := esmtp.ParseEnhancedCode(text); ok {
		if s.Code == 0 {
			s.Code = e[0]*100 + 50
		}
		if e[0] == s.Code/100 {
			s.Enhanced = e
		}
		return nil
	}
	switch squeeze(text) {
	case "enabled", "disabled", "active", "subscribed", "confirmed", "unconfirmed", "pending":
		return skipped("its status is " + quote(text))
	}
	reason, known := reasonOf(text)
	switch {
	case !known:
		return &FieldError{"status", quote(text) + " is not known", "take out the column or the row"}
	case reason == "":
		return errSoft
	case s.Reason == Import:
		s.Reason = reason
	}
	return nil
}

// reasonOf knows the words for reasons, ours and those of other programs. A known reason that is
// empty does not suppress.
func reasonOf(text string) (reason Reason, known bool) {
	switch squeeze(text) {
	case "hardbounce", "hard", "bounce", "bounced", "permanent", "cleaned":
		return HardBounce, true
	case "complaint", "complained", "spamcomplaint", "spam", "spamreport":
		return Complaint, true
	case "unsubscribe", "unsubscribed", "unsub", "optout":
		return Unsubscribe, true
	case "manual", "manualsuppression", "blocklist", "blocklisted", "blacklist", "blacklisted":
		return Manual, true
	case "import":
		return Import, true
	case "softbounce", "soft", "transient", "temporary", "undetermined":
		return "", true
	default:
		return "", false
	}
}

// replyIn finds the codes of a reply at the start of a text: "smtp; 550-5.1.1 no such user".
func replyIn(text string) (code int, enhanced esmtp.EnhancedCode) {
	if kind, rest, ok := strings.Cut(text, ";"); ok && strings.EqualFold(kind, "smtp") {
		text = strings.TrimSpace(rest)
	}
	if len(text) < 3 || text[0] < '4' || text[0] > '5' {
		return 0, enhanced
	}
	if len(text) > 3 && text[3] != ' ' && text[3] != '-' {
		return 0, enhanced
	}
	code, err := strconv.Atoi(text[:3])
	if err != nil {
		return 0, enhanced
	}
	if len(text) > 3 {
		enhanced = esmtp.Reply{Code: code, Lines: []string{text[4:]}}.Enhanced()
	}
	return code, enhanced
}

// parseAnyTime parses the times that lists of other programs have, in UTC where they do not say.
func parseAnyTime(field, text string) (time.Time, error) {
	for _, layout := range []string{
		time.RFC3339, time.DateTime, time.DateOnly, "2006-01-02 15:04:05Z07:00",
		"2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 -0700 MST", time.RFC1123, time.RFC1123Z,
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		if n >= 1e11 { // Unix milliseconds
			n /= 1000
		}
		return time.Unix(n, 0).UTC(), nil
	}
	return time.Time{}, &FieldError{field, quote(text) + " is no time", "write 2026-12-31T00:00:00Z"}
}
