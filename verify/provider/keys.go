package provider

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	maxList  = 500 // entries of a list
	maxText  = 500 // octets of a string
	maxCount = 1_000_000
)

// Key describes one key of a profile.
type Key struct {
	Name    string // "limits.connections"
	Allowed string // for people: "a whole number from 1 to 100"

	set     func(p *Profile, value any) bool // false: not allowed
	inherit bool                             // taken from generic where it is missing
}

// keys are all of them, in the order in which they are documented.
func keys() []Key {
	return []Key{
		text("title", func(p *Profile) *string { return &p.Title }),
		list("mx", `a list of host names, such as ["mx1.example.com", "*.mx.example.com"]; `+
			`"*." in front or one "*" within a label, not in the last two labels`, pattern, func(p *Profile) *[]string { return &p.MX }),
		list("domains", `a list of domains in lower case, such as ["example.com"]`, hostName,
			func(p *Profile) *[]string { return &p.Domains }),
		list("banner", `a list of lower-case texts of 4 octets and more, such as ["esmtp example"]`,
			bannerText, func(p *Profile) *[]string { return &p.Banner }),
		flag("software", func(p *Profile) *bool { return &p.Software }),
		share("refusal", func(p *Profile) *float64 { return &p.Refusal }),
		share("acceptance", func(p *Profile) *float64 { return &p.Acceptance }),
		flag("accept_all", func(p *Profile) *bool { return &p.AcceptAll }),
		{Name: "catch_all", Allowed: `"never" or "test"`, set: func(p *Profile, v any) bool {
			s, ok := v.(string)
			p.CatchAll = s
			return ok && (s == CatchAllNever || s == CatchAllTest)
		}},
		flag("passive", func(p *Profile) *bool { return &p.Passive }),
		flag("greylists", func(p *Profile) *bool { return &p.Greylists }),
		duration("greylist_delay", func(p *Profile) *time.Duration { return &p.GreylistDelay }),
		count("limits.connections", 100, func(p *Profile) *int { return &p.Limits.Connections }),
		count("limits.rcpt_per_session", maxCount, func(p *Profile) *int { return &p.Limits.RcptPerSession }),
		count("limits.rcpt_per_transaction", 1000, func(p *Profile) *int { return &p.Limits.RcptPerTransaction }),
		count("limits.refusals", maxCount, func(p *Profile) *int { return &p.Limits.Refusals }),
		count("limits.per_minute", maxCount, func(p *Profile) *int { return &p.Limits.PerMinute }),
		count("limits.burst", maxCount, func(p *Profile) *int { return &p.Limits.Burst }),
		duration("rate_pause", func(p *Profile) *time.Duration { return &p.RatePause }),
		duration("block_pause", func(p *Profile) *time.Duration { return &p.BlockPause }),
		flag("fold.case", func(p *Profile) *bool { return &p.Fold.Case }),
		flag("fold.dots", func(p *Profile) *bool { return &p.Fold.Dots }),
		flag("fold.plus", func(p *Profile) *bool { return &p.Fold.Plus }),
		list("sources", "a list of texts: where the profile is from", anyText,
			func(p *Profile) *[]string { return &p.Sources }),
	}
}

func text(name string, field func(*Profile) *string) Key {
	return Key{Name: name, Allowed: "a text of 1 to 500 octets", set: func(p *Profile, v any) bool {
		s, ok := v.(string)
		*field(p) = s
		return ok && anyText(s)
	}}
}

func flag(name string, field func(*Profile) *bool) Key {
	return Key{Name: name, Allowed: "true or false", set: func(p *Profile, v any) bool {
		b, ok := v.(bool)
		*field(p) = b
		return ok
	}}
}

func share(name string, field func(*Profile) *float64) Key {
	return Key{Name: name, Allowed: "a number from 0 to 1", inherit: true, set: func(p *Profile, v any) bool {
		f, ok := v.(float64)
		if n, whole := v.(int64); whole {
			f, ok = float64(n), true
		}
		*field(p) = f
		return ok && !math.IsNaN(f) && f >= 0 && f <= 1
	}}
}

func count(name string, most int64, field func(*Profile) *int) Key {
	return Key{
		Name: name, Allowed: fmt.Sprintf("a whole number from 1 to %d", most), inherit: true,
		set: func(p *Profile, v any) bool {
			n, ok := v.(int64)
			if !ok || n < 1 || n > most {
				return false
			}
			*field(p) = int(n)
			return true
		},
	}
}

func duration(name string, field func(*Profile) *time.Duration) Key {
	const least, most = time.Second, 7 * 24 * time.Hour
	return Key{
		Name: name, Allowed: `a duration from "1s" to "168h", such as "5m"`, inherit: true,
		set: func(p *Profile, v any) bool {
			s, ok := v.(string)
			d, err := time.ParseDuration(s)
			*field(p) = d
			return ok && err == nil && d >= least && d <= most
		},
	}
}

func list(name, allowed string, entry func(string) bool, field func(*Profile) *[]string) Key {
	return Key{Name: name, Allowed: allowed, set: func(p *Profile, v any) bool {
		values, ok := v.([]any)
		if !ok || len(values) > maxList {
			return false
		}
		out := make([]string, 0, len(values))
		for _, value := range values {
			s, isText := value.(string)
			if !isText || !entry(s) || slices.Contains(out, s) {
				return false
			}
			out = append(out, s)
		}
		*field(p) = out
		return true
	}}
}

func anyText(s string) bool {
	if s == "" || len(s) > maxText {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func bannerText(s string) bool { return len(s) >= 4 && anyText(s) && lowerASCII(s) == s }

func hostName(s string) bool { return !strings.Contains(s, "*") && pattern(s) }

// pattern reports whether s is a pattern of host names; see PATTERNS in the package comment.
func pattern(s string) bool {
	if len(s) > 253 {
		return false
	}
	if rest, below := strings.CutPrefix(s, "*."); below {
		if strings.Contains(rest, "*") || !strings.Contains(rest, ".") {
			return false
		}
		s = rest
	}
	labels := strings.Split(s, ".")
	for i, label := range labels {
		stars := strings.Count(label, "*")
		literal := i >= len(labels)-2
		if label == "" || len(label) > 63 || stars > 1 || stars > 0 && literal {
			return false
		}
		for j := range len(label) {
			c := label[j]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '*' {
				return false
			}
		}
	}
	return len(labels) >= 2
}

// validName reports whether s may be the name of a profile.
func validName(s string) bool {
	if s == "" || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return !strings.HasSuffix(s, "_")
}
