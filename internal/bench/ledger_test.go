package bench

import (
	"crypto/sha256"
	"strings"
	"testing"
)

func TestLedgerBalance(t *testing.T) {
	t.Parallel()
	entry := func(o Outcome) Entry {
		return Entry{Outcome: o, Octets: 3, SHA256: sha256.Sum256([]byte("abc")), Rcpts: []string{"x", "y"}}
	}
	right := Arrival{ID: "m", Octets: 3, SHA256: sha256.Sum256([]byte("abc")), Rcpts: []string{"y", "x"}}
	other := right
	other.ID = "stranger"
	changed := right
	changed.SHA256[7]++
	short := right
	short.Octets = 2
	fewer := right
	fewer.Rcpts = []string{"x"}
	for _, test := range []struct {
		name    string
		outcome Outcome
		arrived []Arrival
		killed  bool
		fault   string // "": none
	}{
		{"accepted and there", Accepted, []Arrival{right}, false, ""},
		{"accepted and lost", Accepted, nil, false, "arrived 0 times"},
		{"accepted and lost in a crash", Accepted, nil, true, "arrived 0 times"},
		{"accepted and doubled", Accepted, []Arrival{right, right}, true, "arrived 2 times"},
		{"accepted and changed", Accepted, []Arrival{changed}, false, "differ"},
		{"accepted and cut", Accepted, []Arrival{short}, false, "differ"},
		{"accepted for more", Accepted, []Arrival{fewer}, false, "accepted were"},
		{"refused", Refused, nil, false, ""},
		{"refused and there", Refused, []Arrival{right}, true, "refused, but"},
		{"unsent", Unsent, nil, true, ""},
		{"unsent and there", Unsent, []Arrival{right}, true, "not sent to its end"},
		{"unknown", Unknown, nil, false, ""},
		{"unknown and there", Unknown, []Arrival{right}, false, ""},
		{"unknown and doubled", Unknown, []Arrival{right, right}, false, "no 250"},
		{"silence in a crash", Silence, []Arrival{right}, true, ""},
		{"silence", Silence, nil, false, "not killed"},
		{"silence and doubled", Silence, []Arrival{right, right}, true, "no 250"},
		{"nobody's", Refused, []Arrival{other}, true, "nobody sent it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var l Ledger
			l.Note("m", entry(test.outcome))
			b := l.Balance(test.arrived, test.killed)
			got := strings.Join(b.Faults, "\n")
			if test.fault == "" && got != "" || !strings.Contains(got, test.fault) {
				t.Errorf("faults %q, want %q", got, test.fault)
			}
			if n := b.Accepted + b.Refused + b.Unsent + b.Unknown + b.Silence; n != 1 {
				t.Errorf("%d messages counted, want 1: %+v", n, b)
			}
		})
	}
}
