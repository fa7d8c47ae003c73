package main

import (
	"context"
	"slices"
	"time"

	"github.com/rcptgate/rcptgate/internal/bench"
)

// benchWarm is work whose recipients are all known.
func benchWarm() bench.Work {
	return bench.Work{
		Name: "warm recipients", Sessions: 20, Rcpts: 50, Pipelined: true, NoData: true,
	}
}

// warm measures recipients whose verdicts are known, against a Postfix that knows them too.
func (b *benchmark) warm(ctx context.Context) error {
	recipients := bench.Recipients(benchRecipients, benchDomains, benchDomain)
	m := &bench.Matrix{Rounds: b.rounds, Note: b.note, Targets: []bench.Target{
		{Name: "sink", Address: b.lab.sink},
	}}
	done, err := b.addGates(ctx, m)
	if err != nil {
		return err
	}
	defer done()
	if p, err := b.startPeer(ctx); err == nil {
		if err := p.warmUp(ctx, recipients); err != nil {
			return err
		}
		m.Targets = append(m.Targets, bench.Target{Name: benchPeer, Address: p.verify, Tree: p.tree})
	}
	got, err := m.Run(ctx, []bench.Cell{{
		// A second: Postfix starts its processes in the first moments.
		Recipients: recipients, Duration: max(b.round, time.Second), Work: benchWarm(),
	}})
	if err != nil {
		return err
	}
	s := got[0]
	peer := s.Ratio(benchGateNow, benchPeer, bench.ByRcpts)
	sink := s.Ratio(benchGateNow, "sink", bench.ByRcpts)
	writef(b.out, "\nWarm recipients: 20 sessions, 50 RCPT pipelined, RSET instead of DATA.\n"+
		"  gate %.0f RCPT/s, the sink itself %.0f (%.2f of it), Postfix with "+
		"reject_unverified_recipient %s\n  vs Postfix %s [%.1f - %.1f], goal %s\n",
		s.Median(benchGateNow, bench.ByRcpts), s.Median("sink", bench.ByRcpts), sink.Median,
		number("%.0f", s.Median(benchPeer, bench.ByRcpts)),
		number("%.1f", peer.Median), peer.Min, peer.Max, atLeast(peer.Median, 6, 15))
	if b.against != "" {
		r := s.Ratio(benchGateNow, benchAgainst, bench.ByRcpts)
		writef(b.out, "  vs other %.2f [%.2f - %.2f]\n", r.Median, r.Min, r.Max)
	}
	return nil
}

// refusal measures how much longer a cached refusal takes than the answer of an echo server.
func (b *benchmark) refusal(ctx context.Context) error {
	echo, _, err := b.lab.server(ctx, "echo")
	if err != nil {
		return err
	}
	g, err := b.lab.warmGate(ctx, b.lab.gate)
	if err != nil {
		return err
	}
	defer g.quiet()
	// Many short turns: what else the machine does changes from one moment to the next.
	const turn = 1000
	var floors, added []time.Duration
	for i := range 1 + b.rounds*b.pings/turn {
		floor, err := bench.Ping(ctx, echo, benchNobody, turn, 550, true)
		if err != nil {
			return err
		}
		cached, err := bench.Ping(ctx, g.address, benchNobody, turn, 550, false)
		if err != nil {
			return err
		}
		if i > 0 {
			floors = append(floors, floor.Quantile(0.5))
			added = append(added, cached.Quantile(0.5)-floor.Quantile(0.5))
		}
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	more := us(bench.Median(added))
	writef(b.out, "\nA cached refusal, one session, median of %d times %d: an echo server takes %.1f us, "+
		"the gate %.1f us more [%.1f - %.1f]; goal (us) %s\n", len(added), turn,
		us(bench.Median(floors)), more, us(slices.Min(added)), us(slices.Max(added)),
		atMost(more, 20, 0))
	return nil
}

// settle is how long a gate has to give up what it holds for a moment only, as idle connections to
// the relay.
const settle = 2500 * time.Millisecond

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// memory of a gate that has come to rest.
func (g *benchGate) memory(ctx context.Context) (int64, error) {
	if err := wait(ctx, settle); err != nil {
		return 0, err
	}
	return g.tree.Memory()
}

// idleMemory measures what a silent connection costs, and whether new mail is served beside many.
func (b *benchmark) idleMemory(ctx context.Context) error {
	g, err := b.lab.warmGate(ctx, b.lab.gate)
	if err != nil {
		return err
	}
	defer g.quiet()
	base, err := g.memory(ctx)
	if err != nil {
		return err
	}
	to := "user0@d0." + benchDomain
	writef(b.out, "\nIdle connections that have sent one message of 1 KB each:\n")
	h := new(bench.Hold)
	defer h.Close()
	for _, n := range []int{b.idle / 10, b.idle} {
		if err := h.Open(ctx, g.address, n, to, bench.Message(kib)); err != nil {
			return err
		}
		now, err := g.memory(ctx)
		if err != nil {
			return err
		}
		each := float64(now-base) / kib / float64(n)
		writef(b.out, "  %5d connections: %.1f KiB each over %.1f MiB; goal (KiB) %s\n", n, each,
			float64(base)/mib, atMost(each, 20, 12))
	}
	const mails = 100
	served, err := bench.Serve(ctx, g.address, to, mails)
	if err != nil {
		return err
	}
	slowest := served.Max()
	writef(b.out, "  beside %d of them %d new messages, from connecting to the 250: median %v, "+
		"slowest %v; goal (ms) %s\n", h.Len(), mails, served.Quantile(0.5), slowest,
		atMost(float64(slowest)/float64(time.Millisecond), 100, 0))
	return nil
}

// bigMessages measures how much many big messages at the same time cost.
func (b *benchmark) bigMessages(ctx context.Context) error {
	g, err := b.lab.warmGate(ctx, b.lab.gate)
	if err != nil {
		return err
	}
	defer g.quiet()
	base, err := g.memory(ctx)
	if err != nil {
		return err
	}
	peak := watchPeak(ctx, g.tree)
	var half int64
	start := time.Now()
	err = bench.HalfWay(ctx, g.address, "user0@d0."+benchDomain, b.bigMail, 20*mib, func() error {
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
		var err error
		half, err = g.tree.Memory()
		return err
	})
	most := peak()
	if err != nil {
		return err
	}
	grown := float64(max(most, half)-base) / mib
	goal := "is for 200"
	if b.bigMail >= 200 {
		goal = atMost(grown, 32, 0)
	}
	writef(b.out, "\n%d messages of 20 MB at the same time, all of them stopping half way: %.1f MiB "+
		"more at the most (%.1f MiB half way) over %.1f MiB; goal (MiB) %s; %.1f s in all\n",
		b.bigMail, grown, float64(half-base)/mib, float64(base)/mib, goal,
		time.Since(start).Seconds())
	return nil
}

// watchPeak looks at the memory of a process until the returned function is called, which returns
// the most.
func watchPeak(ctx context.Context, tree bench.Tree) func() int64 {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan int64)
	go func() {
		each := time.NewTicker(25 * time.Millisecond)
		defer each.Stop()
		var most int64
		for {
			select {
			case <-each.C:
				if n, err := tree.Memory(); err == nil {
					most = max(most, n)
				}
			case <-ctx.Done():
				result <- most
				return
			}
		}
	}()
	return func() int64 {
		cancel()
		return <-result
	}
}
