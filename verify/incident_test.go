package verify

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// feed is a guard and the time of its next answer.
type feed struct {
	g     *guard
	now   time.Time
	named bool
	n     int
	undo  []string
}

func newFeed(named bool) *feed {
	return &feed{g: newGuard(slog.New(slog.DiscardHandler)), now: someTime(), named: named}
}

// answers gives n answers, a second apart, each about another address, and returns after how many
// a wave was noticed, or n+1.
func (f *feed) answers(n int, known bool, refused func(i int) bool) int {
	first := n + 1
	for i := range n {
		f.n++
		f.now = f.now.Add(time.Second)
		a := answerSeen{
			at: f.now, address: uint64(f.n), domain: 1, own: f.named, known: known, refused: refused(i),
			key: strconv.Itoa(f.n),
		}
		if !f.named {
			a.domain = uint64(f.n / 2)
		}
		open, undo := f.g.see("provider", f.named, a)
		f.undo = append(f.undo, undo...)
		if open && first > n {
			first = i + 1
		}
	}
	return first
}

func always(int) bool { return true }
func never(int) bool  { return false }

func every(n int) func(int) bool { return func(i int) bool { return i%n == n-1 } }

// TestWave: when the guard acts, and when it must not.
func TestWave(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	share := func(p float64) func(int) bool { return func(int) bool { return r.Float64() < p } }
	tests := []struct {
		name    string
		named   bool
		before  func(f *feed)
		known   bool
		then    func(int) bool
		noticed int // at the latest; 0: never
	}{
		{"everybody is refused", true, func(f *feed) { f.answers(40, false, every(12)) }, false, always, 20},
		{"everybody who is known is refused", true, func(f *feed) { f.answers(40, false, every(12)) }, true, always, 5},
		{"a third of those who are known is refused", true, func(f *feed) { f.answers(40, true, never) }, true, every(3), 90},
		{"two in 40 of those who are known have gone", true, func(f *feed) { f.answers(20, true, never) }, true, every(20), 0},
		{"a bad list, half of it invented", true, func(f *feed) { f.answers(60, false, every(12)) }, false, share(0.5), 0},
		{"a bad list, eight in ten invented", true, func(f *feed) { f.answers(60, false, every(12)) }, false, share(0.8), 0},
		{"invented addresses only, of the first mail ever", true, func(*feed) {}, false, always, 0},
		{"a provider where much is refused anyway", true, func(f *feed) { f.answers(400, false, every(3)) }, false, share(0.9), 0},
		{"a site without a profile, hardly known", false, func(f *feed) { f.answers(40, false, every(12)) }, false, always, 0},
		{"a site without a profile, well known", false, func(f *feed) { f.answers(400, false, every(12)) }, false, always, 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFeed(tt.named)
			tt.before(f)
			f.now = f.now.Add(20 * time.Minute)
			n := f.answers(120, tt.known, tt.then)
			switch {
			case tt.noticed == 0 && n <= 120:
				t.Errorf("a wave is seen after %d", n)
			case tt.noticed > 0 && n > tt.noticed:
				t.Errorf("noticed after %d, want %d", n, tt.noticed)
			}
		})
	}
}

// TestWaveEnds: the guard recovers by itself, and is quicker the next time.
func TestWaveEnds(t *testing.T) {
	f := newFeed(true)
	f.answers(60, false, every(12))
	f.now = f.now.Add(20 * time.Minute)
	if n := f.answers(30, false, always); n > 20 {
		t.Fatalf("noticed after %d", n)
	}
	if len(f.undo) < 19 {
		t.Errorf("%d refusals undone", len(f.undo))
	}
	if !f.g.open("provider", f.now.Add(14*time.Minute)) || f.g.open("provider", f.now.Add(16*time.Minute)) {
		t.Error("it does not end by itself")
	}
	f.answers(12, false, never)
	if f.g.open("provider", f.now) {
		t.Error("open although all are accepted again")
	}
	f.now = f.now.Add(2 * time.Hour)
	f.answers(3, false, never)
	if n := f.answers(20, false, always); n > 6 {
		t.Errorf("the second wave is noticed after %d", n)
	}
}

// TestWaveOfOneCompany: who closes a company closes all its mailboxes; that is no wave.
func TestWaveOfOneCompany(t *testing.T) {
	g := newGuard(slog.New(slog.DiscardHandler))
	now := someTime()
	for i := range 200 {
		open, _ := g.see("google", true, answerSeen{
			at: now.Add(time.Duration(i) * time.Second), address: uint64(i), domain: 99, known: true, refused: true,
		})
		if open {
			t.Fatalf("a wave after %d mailboxes of one domain", i+1)
		}
	}
}

func TestGuardIsBounded(t *testing.T) {
	g := newGuard(slog.New(slog.DiscardHandler))
	for i := range 3 * waveGroups {
		g.see(fmt.Sprint("site", i), false, answerSeen{at: someTime().Add(time.Duration(i) * time.Second)})
	}
	if n := len(g.waves); n > waveGroups {
		t.Errorf("%d providers", n)
	}
}
