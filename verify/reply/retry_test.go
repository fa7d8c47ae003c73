package reply

import (
	"testing"
	"time"
)

func TestRetryIn(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
	}{
		{"4.7.1 Greylisted, try again in 5 minutes", 5 * time.Minute},
		{"4.7.1 Greylisting in action, please come back in 00:04:12", 4*time.Minute + 12*time.Second},
		{"4.2.0 Greylisted for 60 seconds", time.Minute},
		{"retry after 300 sec.", 5 * time.Minute},
		{"(come back in 2h)", 2 * time.Hour},
		{"wait 10-minutes", 10 * time.Minute},
		{"in 1 Stunde", time.Hour},
		{"limit 20 messages\nretry in 30 s", 30 * time.Second},
		{"try again in 1 second", 10 * time.Second}, // impatience
		{"try again in 90 hours", 24 * time.Hour},
		{"in 999999 hours", 24 * time.Hour},
		{"in 9999999999 minutes", 0},
		{"00:00:00", 0},
		{"mail from 192.0.2.10 m", 0},
		{"2001:db8:10:20:30:40:50:60 blocked", 0},
		{"error 4711", 0},
		{"5m0x", 0},
		{"", 0},
	}
	for _, tt := range tests {
		if got := retryIn(tt.text); got != tt.want {
			t.Errorf("%q: %v; want %v", tt.text, got, tt.want)
		}
	}
}
