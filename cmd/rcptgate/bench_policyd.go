package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/bench"
)

const benchPolicyConns = 20

// policyd measures policy delegation with warm verdicts: the requests that the gate answers, and the
// recipients of a Postfix that asks it, against those of a Postfix that verifies them itself.
func (b *benchmark) policyd(ctx context.Context) error {
	b.lab.policyd = true
	g, err := b.lab.warmGate(ctx, b.lab.gate)
	b.lab.policyd = false
	if err != nil {
		return err
	}
	defer g.quiet()
	recipients := bench.Recipients(benchRecipients, benchDomains, benchDomain)
	if p, err := b.startPeer(ctx); err == nil {
		if err := p.warmUp(ctx, recipients); err != nil {
			return err
		}
	}
	// A second: Postfix starts its processes in the first moments.
	round := max(b.round, time.Second)
	var all []policyRates
	for i := range 1 + b.rounds {
		r, err := b.policyRound(ctx, g, recipients, round)
		if err != nil {
			return err
		}
		if i > 0 { // the first one warms up
			all = append(all, r)
		}
	}
	b.printPolicyd(all)
	return nil
}

// policyRates are what one round showed; zero where there is no Postfix.
type policyRates struct {
	direct policyRate // the gate
	// Postfix: with check_policy_service, with reject_unverified_recipient, and with neither.
	asks, verifies, plain policyRate
}

// policyRate is recipients a second, and the CPU time of the servers for each, in microseconds.
type policyRate struct{ rate, cpu float64 }

func rateOf(n int64, took, cpu time.Duration) policyRate {
	return policyRate{float64(n) / took.Seconds(), float64(cpu) / float64(n) / float64(time.Microsecond)}
}

func (b *benchmark) policyRound(
	ctx context.Context, g *benchGate, recipients []string, d time.Duration,
) (r policyRates, err error) {
	err = measureCPU(&r.direct, []bench.Tree{g.tree}, func() (int64, time.Duration, error) {
		return policyLoad(ctx, b.lab.policyAt, recipients, d)
	})
	if err != nil || b.peer == nil {
		return r, err
	}
	for _, t := range []struct {
		address string
		rate    *policyRate
	}{{b.peer.asks, &r.asks}, {b.peer.verify, &r.verifies}, {b.peer.plain, &r.plain}} {
		load := bench.Load{Work: benchWarm(), Address: t.address, Recipients: recipients, Duration: d}
		err = measureCPU(t.rate, []bench.Tree{g.tree, b.peer.tree}, func() (int64, time.Duration, error) {
			got := load.Run(ctx)
			if ctx.Err() == nil && got.Errors > 0 {
				return 0, 0, fmt.Errorf("postfix: %w", got.First)
			}
			return got.Recipients, got.Wall, ctx.Err()
		})
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// measureCPU runs a load and fills r with its recipients a second and the CPU time of the servers.
func measureCPU(
	r *policyRate, servers []bench.Tree, load func() (int64, time.Duration, error),
) error {
	used := func() (sum time.Duration, err error) {
		for _, t := range servers {
			cpu, err := t.CPU()
			if err != nil {
				return 0, err
			}
			sum += cpu
		}
		return sum, nil
	}
	before, err := used()
	if err != nil {
		return err
	}
	n, took, err := load()
	if err != nil {
		return err
	}
	after, err := used()
	*r = rateOf(n, took, after-before)
	return err
}

func (b *benchmark) printPolicyd(all []policyRates) {
	pick := func(of func(policyRates) float64) (median, least, most float64) {
		var list []float64
		for _, r := range all {
			list = append(list, of(r))
		}
		return bench.Median(list), slices.Min(list), slices.Max(list)
	}
	rate, least, most := pick(func(r policyRates) float64 { return r.direct.rate })
	cpu, _, _ := pick(func(r policyRates) float64 { return r.direct.cpu })
	writef(b.out, "\nPolicy delegation, warm recipients: %d connections, each waiting for every answer.\n"+
		"  gate %.0f requests/s [%.0f - %.0f], goal %s; CPU %.1f us each\n", benchPolicyConns,
		rate, least, most, atLeast(rate, 20000, 0), cpu)
	if b.peer == nil {
		return
	}
	ratio, least, most := pick(func(r policyRates) float64 { return r.direct.rate / r.verifies.rate })
	writef(b.out, "  %.1f times as many as Postfix with reject_unverified_recipient takes RCPT "+
		"[%.1f - %.1f], goal %s\n", ratio, least, most, atLeast(ratio, 3, 0))
	for _, t := range []struct {
		name string
		of   func(policyRates) policyRate
	}{
		{"reject_unverified_recipient", func(r policyRates) policyRate { return r.verifies }},
		{"check_policy_service, with the gate", func(r policyRates) policyRate { return r.asks }},
		{"neither", func(r policyRates) policyRate { return r.plain }},
	} {
		rate, least, most := pick(func(r policyRates) float64 { return t.of(r).rate })
		cpu, _, _ := pick(func(r policyRates) float64 { return t.of(r).cpu })
		writef(b.out, "  Postfix with %s: %.0f RCPT/s [%.0f - %.0f]; CPU %.0f us each\n", t.name,
			rate, least, most, cpu)
	}
}

// policyLoad asks a policy server about recipients for a while, and returns how many it answered in
// which time.
func policyLoad(
	ctx context.Context, address string, recipients []string, d time.Duration,
) (n int64, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var answered atomic.Int64
	errs := make([]error, benchPolicyConns)
	var conns sync.WaitGroup
	start := time.Now()
	for k := range errs {
		conns.Go(func() {
			n, err := policyAsk(ctx, address, recipients, k)
			errs[k] = err
			answered.Add(n)
		})
	}
	conns.Wait()
	return answered.Load(), time.Since(start), errors.Join(errs...)
}

var errPolicyAnswer = errors.New("the policy server does not let a recipient pass")

// policyAsk is one connection, which asks as a process of Postfix does, until ctx ends.
func policyAsk(ctx context.Context, address string, recipients []string, k int) (n int64, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(benchEnd)); err != nil {
		return 0, err
	}
	in := bufio.NewReader(conn)
	next := k * 7919 // a prime spreads the connections over the recipients
	var request []byte
	want := []byte("action=DUNNO\n\n")
	got := make([]byte, len(want))
	for ; ctx.Err() == nil; n++ {
		request = policyRequest(request[:0], recipients[(next+int(n))%len(recipients)], k, n/50)
		if _, err := conn.Write(request); err != nil {
			return n, err
		}
		for read := 0; read < len(got); {
			m, err := in.Read(got[read:])
			if err != nil {
				return n, err
			}
			read += m
		}
		if !bytes.Equal(got, want) {
			return n, fmt.Errorf("%w: %q", errPolicyAnswer, got)
		}
	}
	return n, nil
}

// policyRequest has all attributes that Postfix 3.7 sends.
func policyRequest(dst []byte, recipient string, k int, message int64) []byte {
	return fmt.Appendf(dst, `request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address=127.0.0.1
client_name=localhost
client_port=4711
reverse_client_name=localhost
server_address=127.0.0.1
server_port=25
helo_name=client.example.com
sender=sender@example.com
recipient=%s
recipient_count=0
queue_id=
instance=%x.6743b1a0.%x.0
size=1000
etrn_domain=
stress=
sasl_method=
sasl_username=
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=
encryption_cipher=
encryption_keysize=0
policy_context=

`, recipient, k, message)
}
