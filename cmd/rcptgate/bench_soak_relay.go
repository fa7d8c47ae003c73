package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/bench"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// soakRelay is a relay that fails. After renew another one is in its place, with an empty record.
type soakRelay struct {
	*mxsim.Relay
	address string
	faults  float64
}

func startSoakRelay(ctx context.Context, faults float64) (*soakRelay, error) {
	r := &soakRelay{faults: faults}
	return r, r.listen(ctx, "127.0.0.1:0")
}

func (r *soakRelay) listen(ctx context.Context, address string) (err error) {
	r.Relay = mxsim.NewRelay("relay.example.com", soakFaults(r.faults))
	r.DiscardBodies = true
	r.address, err = r.Listen(ctx, address)
	return err
}

// renew waits until nobody is connected, and returns what arrived since the last time.
func (r *soakRelay) renew(ctx context.Context) ([]bench.Arrival, error) {
	limit, cancel := context.WithTimeout(ctx, benchEnd)
	defer cancel()
	for r.Record().Open > 0 {
		if err := wait(limit, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%d connections to the relay stay open when all is at rest: %w",
				r.Record().Open, err)
		}
	}
	var arrived []bench.Arrival
	for _, m := range r.Messages() {
		id, _, _ := strings.Cut(m.From, "@")
		arrived = append(arrived, bench.Arrival{
			ID: id, Octets: m.Octets, SHA256: m.SHA256, Rcpts: m.Rcpts,
		})
	}
	r.Close()
	return arrived, r.listen(ctx, r.address)
}

// soakFaults makes this share of messages meet a fault, at a stage and of a kind that chance picks.
func soakFaults(share float64) mxsim.Behaviour {
	closed := mxsim.Answer{Close: true}
	hangs := mxsim.Answer{Hang: true}
	slow := mxsim.Answer{Delay: 200 * time.Millisecond, Text: "250 2.0.0 Ok, after a while"}
	busy := mxsim.Answer{Text: "421 4.3.2 {host} Service shutting down", Close: true}
	say := mxsim.Say
	kinds := map[mxsim.Stage][]mxsim.Answer{
		mxsim.Connect: {closed, busy, say("554 5.3.2 {host} no service here")},
		mxsim.Helo:    {closed, say("451 4.3.0 Temporary failure"), busy},
		mxsim.Mail: {
			closed, slow, busy, say("451 4.3.0 Temporary failure"),
			say("552 5.3.4 Message too big"),
			{Raw: "250-2.1.0 cut in the mid", Close: true},
		},
		mxsim.Rcpt: {
			closed, slow, busy, say("451 4.3.0 Temporary failure"), say("550 5.7.1 Relay access denied"),
			say("452 4.3.1 Insufficient system storage"),
		},
		mxsim.Data: {closed, hangs, busy, say("451 4.3.0 Temporary failure"), say("554 5.5.1 No valid recipients")},
		mxsim.Body: {closed, {Close: true, After: 20 << 10}, {Hang: true, After: 60 << 10}},
		mxsim.Dot: {
			closed, slow, hangs, say("451 4.3.0 queue file write error"), say("554 5.7.1 Message refused"),
			say("421 4.3.2 {host} Service shutting down"),
			// Taken, but nobody hears of it.
			{Raw: "250 2.0.0 Ok: que", Close: true},
		},
	}
	// A message comes by at six stages, some of them more than once or, in a connection that is used
	// again, not at all.
	each := share / 6
	return func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		answers := kinds[e.Stage]
		if len(answers) == 0 || rand.Float64() >= each { //nolint:gosec // no secret
			return mxsim.Answer{}, false
		}
		return answers[rand.IntN(len(answers))], true //nolint:gosec // no secret
	}
}
