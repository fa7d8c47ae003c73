package senders

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	for _, tt := range []struct {
		text         string
		want         spec
		detail, hint string // parts of them
	}{
		{"200/hour", spec{200, hour, 0}, "", ""},
		{" 1/minute ", spec{1, minute, 0}, "", ""},
		{"1000000000/day", spec{1000000000, day, 0}, "", ""},
		{"200/hour  burst 20", spec{200, hour, 20}, "", ""},
		{"20/day burst 20", spec{20, day, 20}, "", ""},
		{"", spec{}, `"" is no limit`, `write "200/hour"`},
		{"200", spec{}, "no unit", `write "200/hour"`},
		{"200 per hour", spec{}, "no unit", `write "200/hour"`},
		{"200/hours", spec{}, `"hours" is no unit`, `did you mean "200/hour"?`},
		{"200/Hour", spec{}, `"Hour" is no unit`, `did you mean "200/hour"?`},
		{"200/h", spec{}, `"h" is no unit`, `did you mean "200/hour"?`},
		{"200/hr", spec{}, `"hr" is no unit`, `did you mean "200/hour"?`},
		{"200/min", spec{}, `"min" is no unit`, `did you mean "200/minute"?`},
		{"5/second", spec{}, `"second" is no unit`, "valid: minute, hour, day"},
		{"5/", spec{}, `"" is no unit`, "valid: minute, hour, day"},
		{"0/hour", spec{}, `"0" is not a number`, "a rule"},
		{"-1/hour", spec{}, `"-1" is not a number`, "digits only"},
		{"10,000/day", spec{}, `"10,000" is not`, "write 10000"},
		{"10_000/day", spec{}, `"10_000" is not`, "write 10000"},
		{"1000000001/day", spec{}, "from 1 to 1000000000", ""},
		{"99999999999999999999/day", spec{}, "from 1 to 1000000000", ""},
		{"200/hour bursts 20", spec{}, `"bursts" is not understood`, `write "200/hour burst 20"`},
		{"200/hour burst", spec{}, "is no limit", "write"},
		{"200/hour burst x", spec{}, `burst: "x" is not a number`, "digits"},
		{"200/hour burst 201", spec{}, "a burst of 201 is more", `write "200/hour"`},
	} {
		got, detail, hint := parseSpec(tt.text)
		if got != tt.want || !strings.Contains(detail, tt.detail) || !strings.Contains(hint, tt.hint) ||
			(tt.detail == "") != (detail == "") {
			t.Errorf("%q: %v, %q, %q; want %v, %q, %q",
				tt.text, got, detail, hint, tt.want, tt.detail, tt.hint)
		}
	}
}

// FuzzParseSpec: a limit is read if, and only if, it has the form of the documentation, and what was
// read is written in a way that is read again.
func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{
		"200/hour", "200/hour burst 20", "1/day burst 2", "0/hour", "1/minutes", "+1/hour", "1_0/day",
	} {
		f.Add(text)
	}
	form := regexp.MustCompile(`^([0-9]+)/(minute|hour|day)( burst ([0-9]+))?$`)
	f.Fuzz(func(t *testing.T, text string) {
		s, detail, hint := parseSpec(text)
		m := form.FindStringSubmatch(strings.Join(strings.Fields(text), " "))
		valid := m != nil
		if valid {
			most, err := strconv.Atoi(m[1])
			valid = err == nil && most >= 1 && most <= mostNumber
			if burst, err := strconv.Atoi(m[4]); m[3] != "" {
				valid = valid && err == nil && burst >= 1 && burst <= most
			}
		}
		if valid != (detail == "") {
			t.Fatalf("%q: valid %v, but %q", text, valid, detail)
		}
		if !valid {
			if hint == "" || s != (spec{}) {
				t.Fatalf("%q: hint %q, %v", text, hint, s)
			}
			return
		}
		if again, detail, _ := parseSpec(s.String()); again != s || detail != "" {
			t.Fatalf("%q: %q is read as %v, %q", text, s, again, detail)
		}
	})
}
