package senders

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// unit is the time that a limit is about.
type unit int

const (
	minute unit = iota
	hour
	day
	units int = iota
)

// unitNames are the units as they are written. Read only.
var unitNames = []string{"minute", "hour", "day"}

func (u unit) String() string { return unitNames[u] }

func (u unit) length() time.Duration {
	switch u {
	case minute:
		return time.Minute
	case hour:
		return time.Hour
	default:
		return 24 * time.Hour
	}
}

// spec is a limit as it is written: "200/hour", "200/hour burst 20".
type spec struct {
	most  int
	unit  unit
	burst int // 0: none, the limit is a window
}

// String is the spec as parseSpec reads it.
func (s spec) String() string {
	text := strconv.Itoa(s.most) + "/" + s.unit.String()
	if s.burst > 0 {
		text += " burst " + strconv.Itoa(s.burst)
	}
	return text
}

// mostNumber bounds the numbers of limits; a window's counters must not overflow.
const mostNumber = 1_000_000_000

// specForms is the hint when the form as a whole is wrong.
const specForms = `write "200/hour" or "200/hour burst 20"; units: minute, hour, day`

// parseSpec reads one limit. If detail is not "" it is what is wrong, and hint says what to write.
func parseSpec(text string) (s spec, detail, hint string) {
	words := strings.Fields(text)
	if len(words) != 1 && len(words) != 3 {
		return spec{}, fmt.Sprintf("%q is no limit", clip(text)), specForms
	}
	number, name, found := strings.Cut(words[0], "/")
	if !found {
		return spec{}, fmt.Sprintf("%q has no unit", clip(text)), specForms
	}
	if s.most, detail, hint = parseNumber(number); detail != "" {
		return spec{}, detail, hint
	}
	if s.unit, detail, hint = parseUnit(name, s.most); detail != "" {
		return spec{}, detail, hint
	}
	if len(words) == 1 {
		return s, "", ""
	}
	if words[1] != "burst" {
		return spec{}, fmt.Sprintf("%q is not understood", clip(words[1])),
			fmt.Sprintf(`write "%d/%s burst 20"`, s.most, s.unit)
	}
	if s.burst, detail, hint = parseNumber(words[2]); detail != "" {
		return spec{}, "burst: " + detail, hint
	}
	if s.burst > s.most {
		detail = fmt.Sprintf("a burst of %d is more than the %d of the %s", s.burst, s.most, s.unit)
		return spec{}, detail,
			fmt.Sprintf(`write "%d/%s" if they may all come at once`, s.most, s.unit)
	}
	return s, "", ""
}

// parseNumber reads a count of at least 1, in digits.
func parseNumber(text string) (n int, detail, hint string) {
	u, err := strconv.ParseUint(text, 10, 32)
	if err == nil && u >= 1 && u <= mostNumber {
		return int(u), "", ""
	}
	detail = fmt.Sprintf("%q is not a number from 1 to %d", clip(text), mostNumber)
	plain := strings.NewReplacer(",", "", "_", "", ".", "", "'", "").Replace(text)
	switch p, perr := strconv.ParseUint(plain, 10, 32); {
	case err == nil && u == 0:
		return 0, detail, "a rule with the action reject or defer lets nothing pass"
	case perr == nil && p >= 1 && p <= mostNumber:
		return 0, detail, fmt.Sprintf("write %d", p)
	default:
		return 0, detail, "digits only"
	}
}

func parseUnit(name string, most int) (u unit, detail, hint string) {
	for i, known := range unitNames {
		if name == known {
			return unit(i), "", ""
		}
	}
	detail = fmt.Sprintf("%q is no unit", clip(name))
	meant := nearest(name, unitNames)
	switch strings.ToLower(name) {
	case "hr", "hrs":
		meant = "hour"
	case "s", "sec", "second", "seconds", "week", "month":
		meant = ""
	}
	if meant != "" {
		return 0, detail, fmt.Sprintf(`did you mean "%d/%s"? valid: minute, hour, day`, most, meant)
	}
	return 0, detail, "valid: minute, hour, day"
}

// clip shortens what stands in a message about it, and what names a key: of what is longer than an
// address may be (RFC 5321 section 4.5.3.1: 64 octets, an @ and 255), the rest is left out.
func clip(s string) string { return s[:min(len(s), 320)] }
