package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/web"
)

// lastingFlags are --for and --until.
type lastingFlags struct{ span, until string }

func (l *lastingFlags) add(cmd *cobra.Command, otherwise string) {
	cmd.Flags().StringVar(&l.span, "for", "", "for how long, such as 7d or 12h ("+otherwise+")")
	cmd.Flags().StringVar(&l.until, "until", "",
		"until when, in place of --for: 2027-01-31 or 2027-01-31T12:00:00Z")
}

// parse reads them. Dates are days of this machine's time zone, and last until the end.
func (l *lastingFlags) parse() (web.Lasting, error) {
	var out web.Lasting
	if l.span != "" && l.until != "" {
		return out, usageError("--for and --until are both given", "leave one of them out")
	}
	if l.span != "" {
		if err := out.For.UnmarshalText([]byte(l.span)); err != nil {
			return out, usageError("--for: "+err.Error(), "")
		}
		if out.For == 0 {
			return out, usageError("--for: no time at all", "write one such as 7d")
		}
	}
	if l.until == "" {
		return out, nil
	}
	var err error
	if out.Expires, err = parseTime(l.until, true); err != nil {
		return out, usageError("--until: "+err.Error(), "write 2027-01-31 or 2027-01-31T12:00:00Z")
	}
	return out, nil
}

// parseTime reads a time, or a day: its beginning or its end.
func parseTime(text string, end bool) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		return t, fmt.Errorf("%q is no time", text)
	}
	if end {
		t = t.AddDate(0, 0, 1)
	}
	return t, nil
}

// untilText says until when something holds.
func untilText(t time.Time) string {
	if t.IsZero() {
		return "for good"
	}
	return "until " + timeText(t)
}

// timeText is a time as people read it.
func timeText(t time.Time) string { return t.Local().Format("2006-01-02 15:04 MST") }
