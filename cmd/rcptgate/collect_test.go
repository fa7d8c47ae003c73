package main

import "testing"

// TestPercent: garbage is bounded by spare where that says something, and never a large part.
func TestPercent(t *testing.T) {
	for _, c := range []struct {
		alive uint64
		want  int
	}{{0, 300}, {4 << 20, 300}, {6 << 20, 200}, {12 << 20, 100}, {24 << 20, 50}, {10 << 30, 50}} {
		if got := percent(c.alive); got != c.want {
			t.Errorf("%d MiB alive: %d percent, want %d", c.alive>>20, got, c.want)
		}
	}
}
