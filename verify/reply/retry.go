package reply

import (
	"strings"
	"time"
)

// The bounds of a delay that a text names. Less is impatience, more is a mistake or a refusal.
const (
	minRetry = 10 * time.Second
	maxRetry = 24 * time.Hour
)

// retryIn finds the delay that a text names: "in 5 minutes", "for 60 seconds", "00:04:12",
// "retry after 300 sec". It is 0 if there is none.
func retryIn(text string) time.Duration {
	for i := 0; i < len(text) && i < maxText; i++ {
		if !isDigit(text[i]) || i > 0 && !blankBefore(text[i-1]) {
			continue
		}
		n := numberEnd(text, i)
		if d, ok := clock(text[i:]); ok {
			return clamp(d)
		}
		if d := unit(text[n:]); d > 0 && n-i <= 6 {
			if count := number(text[i:n]); count > 0 {
				return clamp(time.Duration(count) * d)
			}
		}
		i = n
	}
	return 0
}

func blankBefore(c byte) bool {
	return c == ' ' || c == '(' || c == '=' || c == '[' || c == '\n'
}

func numberEnd(s string, i int) int {
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

func number(s string) int {
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// clock parses HH:MM:SS at the beginning of s.
func clock(s string) (time.Duration, bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' || len(s) > 8 && (isAlnum(s[8]) || s[8] == ':') {
		return 0, false
	}
	for _, i := range []int{0, 1, 3, 4, 6, 7} {
		if !isDigit(s[i]) {
			return 0, false
		}
	}
	d := time.Duration(number(s[:2]))*time.Hour + time.Duration(number(s[3:5]))*time.Minute +
		time.Duration(number(s[6:8]))*time.Second
	return d, d > 0
}

// unit is the unit of time that s begins with, after a blank or a hyphen, 0 if there is none.
func unit(s string) time.Duration {
	s = strings.TrimLeft(s, " -")
	n := 0
	for n < len(s) && isAlnum(s[n]) {
		n++
	}
	switch w := s[:n]; {
	case equalsAny(w, "s", "sec", "secs", "second", "seconds", "sekunden", "secondes", "segundos"):
		return time.Second
	case equalsAny(w, "m", "min", "mins", "minute", "minutes", "minuten", "minutos", "minuti"):
		return time.Minute
	case equalsAny(w, "h", "hr", "hrs", "hour", "hours", "stunde", "stunden", "heures", "horas"):
		return time.Hour
	}
	return 0
}

func equalsAny(w string, list ...string) bool {
	for _, l := range list {
		if strings.EqualFold(w, l) {
			return true
		}
	}
	return false
}

func clamp(d time.Duration) time.Duration { return min(max(d, minRetry), maxRetry) }
