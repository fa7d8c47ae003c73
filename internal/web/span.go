package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxSpanUnits bounds weeks and days, so that both together fit.
const maxSpanUnits = 10_000

// Span is a time, in JSON a text such as "7d", "12h" or "1d12h30m". It is never negative.
type Span time.Duration

// MarshalText writes what UnmarshalText reads.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads whole weeks and days, and then what time.ParseDuration takes.
func (s *Span) UnmarshalText(text []byte) error {
	rest, total := string(text), time.Duration(0)
	for _, unit := range []struct {
		letter string
		span   time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		head, tail, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil || n > maxSpanUnits {
			return spanError(text)
		}
		total, rest = total+time.Duration(n)*unit.span, tail
	}
	if rest != "" {
		span, err := time.ParseDuration(rest)
		if err != nil || span < 0 || span > math.MaxInt64-total {
			return spanError(text)
		}
		total += span
	} else if len(text) == 0 {
		return spanError(text)
	}
	*s = Span(total)
	return nil
}

func spanError(text []byte) error {
	return fmt.Errorf("%q is no time span; write one such as 7d, 12h or 30m", text)
}

// Lasting is until when something holds: one of both, or neither.
type Lasting struct {
	Expires time.Time `json:"expires,omitzero"` // RFC 3339
	For     Span      `json:"for,omitzero"`     // from now on
}

// until is the time, zero if the request has none.
func (l *Lasting) until(now time.Time) (time.Time, error) {
	switch {
	case l.For != 0 && !l.Expires.IsZero():
		return time.Time{}, badField("for", "there is a time in expires, too", "leave one of them out")
	case l.For != 0:
		return now.Add(time.Duration(l.For)), nil
	case !l.Expires.IsZero() && !l.Expires.After(now):
		return time.Time{}, badField("expires", "the time has passed",
			"write one to come, such as "+now.AddDate(0, 0, 7).UTC().Format(time.RFC3339))
	}
	return l.Expires, nil
}
