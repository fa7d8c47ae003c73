package config

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration // < 0: an error
		form string
	}{
		{"8s", 8 * time.Second, "8s"},
		{"100s", 100 * time.Second, "100s"},
		{"1m30s", 90 * time.Second, "90s"},
		{"500ms", 500 * time.Millisecond, "500ms"},
		{"5m", 5 * time.Minute, "5m"},
		{"1h", time.Hour, "1h"},
		{"24h", day, "1d"},
		{"7d", 7 * day, "7d"},
		{"2w", 14 * day, "14d"},
		{"1w1d12h", 8*day + 12*time.Hour, "204h"},
		{"0s", 0, "0s"},
		{"0", 0, "0s"},
		{"1.5s", 1500 * time.Millisecond, "1.5s"},
		{"", -1, ""},
		{"8", -1, ""},
		{"-8s", -1, ""},
		{"1d-1h", -1, ""},
		{"+8s", -1, ""},
		{"8 s", -1, ""},
		{"d", -1, ""},
		{"99999999999999w", -1, ""},
		{"100000w100000d", -1, ""},
		{"2562047h48m", -1, ""},
		{"8S", -1, ""},
	}
	for _, test := range tests {
		var d Duration
		err := d.UnmarshalText([]byte(test.text))
		if (err != nil) != (test.want < 0) {
			t.Errorf("%q: error %v", test.text, err)
		}
		if err == nil && (time.Duration(d) != test.want || d.String() != test.form) {
			t.Errorf("%q is %v, written %q", test.text, time.Duration(d), d)
		}
	}
}

func TestSize(t *testing.T) {
	tests := []struct {
		text string
		want int64 // < 0: an error
		form string
	}{
		{"50MiB", 50 << 20, "50MiB"},
		{"1GiB", 1 << 30, "1GiB"},
		{"512", 512, "512B"},
		{"512B", 512, "512B"},
		{"10MB", 10_000_000, "10000000B"},
		{"1 MiB", 1 << 20, "1MiB"},
		{"1_000", 1000, "1000B"},
		{"0", 0, "0B"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807B"},
		{"9223372036854775808", -1, ""},
		{"9999999TiB", -1, ""},
		{"-1", -1, ""},
		{"1.5MiB", -1, ""},
		{"MiB", -1, ""},
		{"", -1, ""},
		{"50mib", -1, ""},
	}
	for _, test := range tests {
		var s Size
		err := s.UnmarshalText([]byte(test.text))
		if (err != nil) != (test.want < 0) {
			t.Errorf("%q: error %v", test.text, err)
		}
		if err == nil && (int64(s) != test.want || s.String() != test.form) {
			t.Errorf("%q is %d, written %q", test.text, int64(s), s)
		}
	}
}

func TestHostnameProblem(t *testing.T) {
	for _, name := range []string{
		"gate.example.com", "gate.example.com.", "gate", "a_b.example.com", "1.example.com",
		"xn--bcher-kva.example", strings.Repeat("a", 63) + ".example",
	} {
		if problem := hostnameProblem(name); problem != "" {
			t.Errorf("%q %s", name, problem)
		}
	}
	for _, name := range []string{
		"", ".", "a..b", "-a.example", "a-.example", "a b", "a\r\nb", "bücher.example", "192.0.2.1",
		"[192.0.2.1]", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "com", "a/b",
	} {
		if hostnameProblem(name) == "" {
			t.Errorf("%q passes", name)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"listen", "hostname", "client_timeout", "client_networks"}
	for word, want := range map[string]string{
		"lissen": "listen", "listne": "listen", "Listen": "listen", "hostnam": "hostname",
		"client_timout": "client_timeout", "xyz": "", "": "", "l": "",
		strings.Repeat("x", 1000): "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("%q: %q instead of %q", word, got, want)
		}
	}
}
