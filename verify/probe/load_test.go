package probe_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// probeAll asks for all addresses at the same time.
func (w *world) probeAll(ctx context.Context, rcpts ...string) []probe.Outcome {
	outs := make([]probe.Outcome, len(rcpts))
	var wg sync.WaitGroup
	for i, rcpt := range rcpts {
		wg.Go(func() { outs[i] = w.probeCtx(ctx, rcpt) })
	}
	wg.Wait()
	return outs
}

// probeGroup is probeAll for questions of one group.
func (w *world) probeGroup(ctx context.Context, group string, rcpts ...string) []probe.Outcome {
	outs := make([]probe.Outcome, len(rcpts))
	var wg sync.WaitGroup
	for i, rcpt := range rcpts {
		r := w.request(rcpt) //nolint:contextcheck // DNS is not what is timed
		r.Group = group
		wg.Go(func() { outs[i] = w.pool.Probe(ctx, r) })
	}
	wg.Wait()
	return outs
}

// TestOneHost: 50 questions to one host share its two connections, and all are answered.
func TestOneHost(t *testing.T) {
	s := site("example.com")
	s.Hosts[0].Latency = 20 * time.Millisecond
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		for _, out := range w.probeAll(t.Context(), slices.Repeat([]string{"anna@example.com"}, 50)...) {
			w.wantReply(out, "rcpt", "250")
		}
		settled()
		record := s.Hosts[0].Record()
		if len(record.Conns) > 4 {
			t.Errorf("%d connections", len(record.Conns))
		}
		w.atMost(2)
		w.polite()
	}, s)
}

// TestOneSlowHost: who finds no free connection within its time learns of our own limit then.
func TestOneSlowHost(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		answers, limited := 0, 0
		for _, out := range w.probeAll(ctx, slices.Repeat([]string{"anna@example.com"}, 50)...) {
			switch {
			case out.LocalLimit:
				limited++
			case !out.Reply.IsZero():
				answers++
			}
			if out.Elapsed > 2*time.Second {
				t.Errorf("took %v", out.Elapsed)
			}
		}
		// Some more are under way: two sessions take 5 at a time.
		if answers < 10 || answers > 12 || limited < 28 {
			t.Errorf("%d answers and %d without a free connection", answers, limited)
		}
		w.atMost(2)
	}, site("example.com", mxsim.Tarpit(mxsim.Rcpt, 300*time.Millisecond)))
}

// TestHangingHosts: 200 questions to hosts that hang, one or many of them, at any stage, do not
// slow down the question to a good host, and all end in time.
func TestHangingHosts(t *testing.T) {
	hang := map[string]func(*mxsim.Site){
		"connect": func(s *mxsim.Site) { s.Hosts[0].State = mxsim.BlackHole },
		"banner":  func(s *mxsim.Site) { s.Behaviours = []mxsim.Behaviour{mxsim.Silence(mxsim.Connect)} },
		"helo":    func(s *mxsim.Site) { s.Behaviours = []mxsim.Behaviour{mxsim.Silence(mxsim.Helo)} },
		"rcpt":    func(s *mxsim.Site) { s.Behaviours = []mxsim.Behaviour{mxsim.Silence(mxsim.Rcpt)} },
		"drip": func(s *mxsim.Site) {
			s.Behaviours = []mxsim.Behaviour{mxsim.Drip(mxsim.Rcpt, "250 2.1.5 a long story", time.Second)}
		},
	}
	for name, spoil := range hang {
		for _, hosts := range []int{20, 200} {
			t.Run(fmt.Sprintf("%s/%d", name, hosts), func(t *testing.T) {
				sites := []*mxsim.Site{site("good.test")}
				var rcpts []string
				for i := range hosts {
					s := site(fmt.Sprintf("hang%d.test", i))
					spoil(s)
					sites = append(sites, s)
				}
				for i := range 200 {
					rcpts = append(rcpts, fmt.Sprintf("anna@hang%d.test", i%hosts))
				}
				inBubble(t, probe.Config{}, func(w *world) {
					t := w.t
					w.wantReply(w.probe("anna@good.test"), "rcpt", "250")
					time.Sleep(time.Minute) // no session is left
					var outs []probe.Outcome
					var wg sync.WaitGroup
					wg.Go(func() { outs = w.probeAll(t.Context(), rcpts...) })
					time.Sleep(time.Second)
					out := w.probe("anna@good.test")
					w.wantReply(out, "rcpt", "250")
					if out.Elapsed != 0 {
						t.Errorf("the good host took %v", out.Elapsed)
					}
					wg.Wait()
					for _, out := range outs {
						if out.Elapsed > 30*time.Second || !out.Reply.IsZero() {
							t.Errorf("%v: %+v", out.Elapsed, out)
						}
					}
					w.atMost(2)
				}, sites...)
			})
		}
	}
}

// TestMax: with fewer places than hosts, sessions that only wait make room at once.
func TestMax(t *testing.T) {
	var sites []*mxsim.Site
	var rcpts []string
	for i := range 20 {
		s := site(fmt.Sprintf("d%d.test", i))
		s.Hosts[0].Latency = 10 * time.Millisecond
		sites = append(sites, s)
		rcpts = append(rcpts, fmt.Sprintf("anna@d%d.test", i))
	}
	inBubble(t, probe.Config{Max: 3}, func(w *world) {
		t := w.t
		for range 2 {
			for _, out := range w.probeAll(t.Context(), rcpts...) {
				w.wantReply(out, "rcpt", "250")
				if out.Elapsed > time.Second {
					t.Errorf("took %v", out.Elapsed)
				}
			}
		}
		settled()
		time.Sleep(time.Second)
		if _, idle := w.pool.Held(); idle > 3 {
			t.Errorf("%d sessions wait, at most 3", idle)
		}
		w.polite()
	}, sites...)
}

// TestRefusalBeforeLimit: when the second host is busy until the end, what the first one said is the
// outcome, not our own limit.
func TestRefusalBeforeLimit(t *testing.T) {
	s := twoHosts(&mxsim.Host{
		Behaviours: []mxsim.Behaviour{mxsim.Refuse(mxsim.Connect, "554 5.7.1 you are listed")},
	})
	s.Hosts[1].Behaviours = []mxsim.Behaviour{mxsim.Tarpit(mxsim.Rcpt, 4*time.Second)}
	inBubble(t, probe.Config{Total: 3 * time.Second}, func(w *world) {
		for _, out := range w.probeAll(w.t.Context(), slices.Repeat([]string{"anna@example.com"}, 5)...) {
			w.wantReply(out, "connect", "554 5.7.1")
			if out.LocalLimit || out.Elapsed != 3*time.Second {
				w.t.Errorf("%+v", out)
			}
		}
	}, s)
}

// TestQuitCounts: a connection is one until its QUIT is answered, whoever wants another meanwhile.
func TestQuitCounts(t *testing.T) {
	inBubble(t, probe.Config{PerHost: 1, RcptPerSession: 3}, func(w *world) {
		for i := range 8 {
			out := w.probe("anna@example.com")
			w.wantReply(out, "rcpt", "250")
			if i == 3 || i == 5 { // behind a session that was used up, and one that nobody took
				if out.Elapsed < 500*time.Millisecond || out.Elapsed > time.Second {
					w.t.Errorf("probe %d took %v", i, out.Elapsed)
				}
			}
			settled()
			if i == 4 {
				time.Sleep(20*time.Second + 100*time.Millisecond) // its QUIT is under way
			}
		}
		w.atMost(1)
	}, site("example.com", mxsim.Tarpit(mxsim.Quit, time.Second)))
}

// TestHeloChange: a host never sees two HELO names of ours at a time.
func TestHeloChange(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		for _, name := range []string{"a", "b", "b", "a"} {
			r := w.request("anna@example.com")
			r.Helo = name + ".example.com"
			w.wantReply(w.pool.Probe(t.Context(), r), "rcpt", "250")
			settled()
		}
		record := w.Host("mx.example.com").Record()
		if len(record.Conns) != 3 {
			t.Errorf("%d connections, want 3", len(record.Conns))
		}
		w.atMost(1)
		w.polite()
	}, site("example.com"))
}

// TestChaos throws everything together: whatever the hosts do, no host sees more than PerHost
// connections, each question ends in time, a broken conversation is never an answer, and nothing is
// left at the end (which inBubble checks).
func TestChaos(t *testing.T) {
	stages := []mxsim.Stage{mxsim.Connect, mxsim.Helo, mxsim.Mail, mxsim.Rcpt, mxsim.Reset, mxsim.Quit}
	rnd := rand.New(rand.NewPCG(7, 7))
	var sites []*mxsim.Site
	for i := range 30 {
		fault := make(map[int]mxsim.Behaviour)
		for j := range 6 {
			stage := stages[rnd.IntN(len(stages))]
			fault[j] = []mxsim.Behaviour{
				mxsim.Drop(stage), mxsim.Silence(stage), mxsim.Garbage(stage), mxsim.Cut(stage, "550 5.1.1 n"),
				mxsim.Refuse(stage, "421 4.3.2 closing"), mxsim.Tarpit(stage, 3*time.Second),
				mxsim.Refuse(stage, "451 4.3.0 later"),
			}[rnd.IntN(7)]
		}
		s := site(fmt.Sprintf("d%d.test", i), func(s *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
			// Which fault depends on the connection, so that good and bad ones alternate.
			if b := fault[(len(s.Peer)+int(s.Peer[len(s.Peer)-1]))%12]; b != nil {
				return b(s, e)
			}
			return mxsim.Answer{}, false
		})
		s.Hosts[0].TLS = mxsim.TLSMode(rnd.IntN(6))
		s.Hosts[0].State = mxsim.HostState(max(0, rnd.IntN(8)-5))
		s.Hosts = append(s.Hosts, &mxsim.Host{Name: fmt.Sprintf("mx2.d%d.test", i), Pref: 20})
		sites = append(sites, s)
	}
	inBubble(t, probe.Config{Max: 20, Total: 20 * time.Second}, func(w *world) {
		t := w.t
		var wg sync.WaitGroup
		for i := range 600 {
			name, want := "anna", 250
			if i%3 == 0 {
				name, want = "nobody", 550
			}
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%30)*time.Second)
				defer cancel()
				out := w.probeCtx(ctx, fmt.Sprintf("%s@d%d.test", name, i%30))
				if out.Elapsed > min(20*time.Second, time.Duration(1+i%30)*time.Second) {
					t.Errorf("took %v", out.Elapsed)
				}
				code := out.Reply.Code
				if out.Err == nil && string(out.Stage) == "rcpt" && code != want && code/100 != 4 {
					t.Errorf("%s was answered with %v", name, out.Reply)
				}
			})
		}
		wg.Wait()
		w.atMost(2)
	}, sites...)
}
