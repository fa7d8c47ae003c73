package bench

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestSoak sends to a relay without a gate between: everything must balance, and a relay that loses
// or doubles must be found out.
func TestSoak(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		fault  mxsim.Behaviour
		forge  func([]Arrival) []Arrival
		killed bool
		want   string // in the faults; "": none
	}{
		{name: "honest"},
		{
			name:   "closes before the answer",
			fault:  mxsim.Once(mxsim.Act(mxsim.Dot, mxsim.Answer{Raw: "250 2.0.0 Ok", Close: true})),
			killed: true,
		},
		{
			name:  "closes before the answer, but nobody was killed",
			fault: mxsim.Once(mxsim.Act(mxsim.Dot, mxsim.Answer{Close: true})),
			want:  "not killed",
		},
		{
			name:  "loses a message",
			forge: func(a []Arrival) []Arrival { return a[1:] },
			want:  "arrived 0 times",
		},
		{
			name:  "doubles a message",
			forge: func(a []Arrival) []Arrival { return append(a, a[0]) },
			want:  "arrived 2 times",
		},
		{
			name:  "refuses a message",
			fault: mxsim.Once(mxsim.Refuse(mxsim.Dot, "554 5.7.1 Message refused")),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var faults []mxsim.Behaviour
			if test.fault != nil {
				faults = append(faults, test.fault)
			}
			arrived, ledger := soakRelay(t, faults)
			if test.forge != nil {
				arrived = test.forge(arrived)
			}
			b := ledger.Balance(arrived, test.killed)
			got := strings.Join(b.Faults, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("faults %q, want %q", got, test.want)
			}
			if b.Accepted < 20 {
				t.Errorf("%d messages accepted, want some", b.Accepted)
			}
		})
	}
}

// soakRelay sends until some messages have arrived.
func soakRelay(t *testing.T, faults []mxsim.Behaviour) ([]Arrival, *Ledger) {
	t.Helper()
	relay := mxsim.NewRelay("relay.example.com", faults...)
	relay.DiscardBodies = true
	defer relay.Close()
	at, err := relay.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Soak{
		Address: at, Sessions: 20, Prefix: "test", Ledger: new(Ledger),
		Known: Recipients(20, 2, "example.com"), Nobodies: Recipients(5, 1, "example.org"),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for len(relay.Messages()) < 50 {
		<-look.C
	}
	cancel()
	<-done
	var arrived []Arrival
	for _, m := range relay.Messages() {
		id, _, _ := strings.Cut(m.From, "@")
		arrived = append(arrived, Arrival{ID: id, Octets: m.Octets, SHA256: m.SHA256, Rcpts: m.Rcpts})
	}
	return arrived, s.Ledger
}
