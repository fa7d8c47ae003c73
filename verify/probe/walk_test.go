package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// twoHosts is a domain with a first host as given and a good second one.
func twoHosts(first *mxsim.Host) *mxsim.Site {
	first.Name, first.Pref = "mx1.example.com", 10
	return &mxsim.Site{
		Domains:   []string{"example.com"},
		Hosts:     []*mxsim.Host{first, {Name: "mx2.example.com", Pref: 20}},
		Mailboxes: map[string]mxsim.Mailbox{"anna": mxsim.Active},
	}
}

// TestFailover: the next host is asked when one cannot be talked to, and never after an answer.
func TestFailover(t *testing.T) {
	behaves := func(b ...mxsim.Behaviour) *mxsim.Host { return &mxsim.Host{Behaviours: b} }
	tests := []struct {
		name    string
		first   *mxsim.Host
		mx      string
		stage   string
		reply   string
		elapsed time.Duration
	}{
		{"good", behaves(), "mx1", "rcpt", "250", 0},
		{"refused", &mxsim.Host{State: mxsim.Down}, "mx2", "rcpt", "250", 0},
		{"black hole", &mxsim.Host{State: mxsim.BlackHole}, "mx2", "rcpt", "250", 3 * time.Second},
		{"silent", behaves(mxsim.Silence(mxsim.Connect)), "mx2", "rcpt", "250", 10 * time.Second},
		{"554 banner", behaves(mxsim.Refuse(mxsim.Connect, "554 no")), "mx2", "rcpt", "250", 0},
		{"421 banner", behaves(mxsim.Refuse(mxsim.Connect, "421 busy")), "mx2", "rcpt", "250", 0},
		{"550 EHLO", behaves(mxsim.Refuse(mxsim.Helo, "550 5.7.1 no")), "mx2", "rcpt", "250", 0},
		{"451 EHLO", behaves(mxsim.Refuse(mxsim.Helo, "451 no")), "mx2", "rcpt", "250", 0},
		{"dropped at EHLO", behaves(mxsim.Drop(mxsim.Helo)), "mx2", "rcpt", "250", 0},
		{"dropped at MAIL", behaves(mxsim.Drop(mxsim.Mail)), "mx2", "rcpt", "250", 0},
		{"cut at RCPT", behaves(mxsim.Cut(mxsim.Rcpt, "550 5.1.1 no")), "mx2", "rcpt", "250", 0},
		{"silent at RCPT", behaves(mxsim.Silence(mxsim.Rcpt)), "mx2", "rcpt", "250", 5 * time.Second},
		{"550 MAIL", behaves(mxsim.Refuse(mxsim.Mail, "550 5.7.1 no")), "mx1", "mail", "550 5.7.1", 0},
		{"451 MAIL", behaves(mxsim.Refuse(mxsim.Mail, "451 4.7.1 no")), "mx1", "mail", "451 4.7.1", 0},
		{"550 RCPT", behaves(mxsim.Refuse(mxsim.Rcpt, "550 5.1.1 no")), "mx1", "rcpt", "550 5.1.1", 0},
		{"450 RCPT", behaves(mxsim.Refuse(mxsim.Rcpt, "450 4.2.0 grey")), "mx1", "rcpt", "450 4.2.0", 0},
		{"421 RCPT", behaves(mxsim.Refuse(mxsim.Rcpt, "421 4.7.0 no")), "mx1", "rcpt", "421 4.7.0", 0},
		{"slow", behaves(mxsim.Tarpit(mxsim.Rcpt, 4*time.Second)), "mx1", "rcpt", "250", 4 * time.Second},
		{"too slow", behaves(mxsim.Tarpit(mxsim.Rcpt, 8*time.Second)), "mx2", "rcpt", "250", 5 * time.Second},
		{"broken TLS", &mxsim.Host{TLS: mxsim.TLSGarbage}, "mx1", "rcpt", "250", 0},
		{"cut TLS", &mxsim.Host{TLS: mxsim.TLSCut}, "mx1", "rcpt", "250", 0},
		{"hanging TLS", &mxsim.Host{TLS: mxsim.TLSHang}, "mx1", "rcpt", "250", 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, probe.Config{}, func(w *world) {
				t := w.t
				out := w.probe("anna@example.com")
				w.wantReply(out, tt.stage, tt.reply)
				if out.MX != tt.mx+".example.com" || out.Elapsed != tt.elapsed || out.ConnectTimeout {
					t.Errorf("by %s after %v (connect timeout %v), want %s after %v\n%s", out.MX, out.Elapsed,
						out.ConnectTimeout, tt.mx, tt.elapsed, strings.Join(out.Steps, "\n"))
				}
				time.Sleep(time.Minute)
				if !strings.Contains(tt.name, "TLS") && tt.elapsed < 5*time.Second {
					w.polite()
				}
			}, twoHosts(tt.first))
		})
	}
}

// TestAllFail: without an answer the most telling failure is reported.
func TestAllFail(t *testing.T) {
	refuse := mxsim.Refuse(mxsim.Connect, "554 5.7.1 you are listed")
	tests := []struct {
		name         string
		hosts        []*mxsim.Host
		mx           string
		reply        string
		err          string
		timeout, con bool
	}{
		{"refused", []*mxsim.Host{{State: mxsim.Down}, {State: mxsim.Down}}, "mx0", "", "refused", false, false},
		{"timeout", []*mxsim.Host{{State: mxsim.BlackHole}, {State: mxsim.BlackHole}}, "mx0", "", "deadline", true, false},
		{"both", []*mxsim.Host{{State: mxsim.BlackHole}, {State: mxsim.Down}}, "mx1", "", "refused", false, false},
		{
			"blocked", []*mxsim.Host{
				{State: mxsim.BlackHole}, {Behaviours: []mxsim.Behaviour{refuse}}, {State: mxsim.Down},
			}, "mx1", "554 5.7.1", "", false, true,
		},
		{
			"broken", []*mxsim.Host{
				{State: mxsim.Down}, {Behaviours: []mxsim.Behaviour{mxsim.Drop(mxsim.Helo)}},
			}, "mx1", "", "EHLO", false, true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, h := range tt.hosts {
				h.Name, h.Pref = fmt.Sprintf("mx%d.example.com", i), uint16(10*i)
			}
			s := &mxsim.Site{Domains: []string{"example.com"}, Hosts: tt.hosts}
			inBubble(t, probe.Config{}, func(w *world) {
				t := w.t
				out := w.probe("anna@example.com")
				if out.MX != tt.mx+".example.com" || !strings.HasPrefix(out.Reply.String(), tt.reply) ||
					out.ConnectTimeout != tt.timeout || out.Connected != tt.con {
					t.Errorf("%+v", out)
				}
				if out.Err != nil && !strings.Contains(out.Err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", out.Err, tt.err)
				}
				w.polite()
			}, s)
		})
	}
}

// TestDownMemory: an address that cannot be reached costs the next recipients no time for a while.
func TestDownMemory(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		for i, want := range []time.Duration{3 * time.Second, 0, 0} {
			out := w.probe("anna@example.com")
			w.wantReply(out, "rcpt", "250")
			if out.Elapsed != want {
				t.Errorf("probe %d took %v, want %v", i, out.Elapsed, want)
			}
		}
		time.Sleep(31 * time.Second)
		if out := w.probe("anna@example.com"); out.Elapsed != 3*time.Second {
			t.Errorf("half a minute later it took %v, want 3s", out.Elapsed)
		}
	}, twoHosts(&mxsim.Host{State: mxsim.BlackHole}))
}

// TestRefusedMemory: a host that does not let us in is not tried again by every recipient.
func TestRefusedMemory(t *testing.T) {
	for _, b := range []mxsim.Behaviour{
		mxsim.Refuse(mxsim.Connect, "554 5.7.1 you are listed"),
		mxsim.Refuse(mxsim.Connect, "421 4.3.2 {host} too many connections"),
		mxsim.Refuse(mxsim.Helo, "550 5.7.1 who are you?"),
		mxsim.Act(mxsim.Connect, mxsim.Say("220 gate.example.com ESMTP")),
		mxsim.Drop(mxsim.Helo),
	} {
		inBubble(t, probe.Config{OwnNames: []string{helo}}, func(w *world) {
			first := w.probe("anna@example.com")
			for range 3 {
				out := w.probe("nobody@example.com")
				same := out.Stage == first.Stage && out.Reply.String() == first.Reply.String()
				if !same || out.Self != first.Self || out.Connected {
					w.t.Errorf("first %+v, then %+v", first, out)
				}
			}
			if n := len(w.Host("mx.example.com").Record().Conns); n != 1 {
				w.t.Errorf("%d connections, want 1", n)
			}
			time.Sleep(31 * time.Second)
			w.probe("anna@example.com")
			if n := len(w.Host("mx.example.com").Record().Conns); n != 2 {
				w.t.Errorf("%d connections half a minute later, want 2", n)
			}
		}, site("example.com", b))
	}
}

// TestPlainMemory: a host with broken TLS is asked without it for an hour.
func TestPlainMemory(t *testing.T) {
	host := &mxsim.Host{TLS: mxsim.TLSGarbage}
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		for _, want := range []int{2, 3, 5} {
			w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
			if n := len(host.Record().Conns); n != want {
				t.Errorf("%d connections, want %d", n, want)
			}
			if want == 3 {
				time.Sleep(time.Hour)
			}
			time.Sleep(time.Minute)
		}
	}, twoHosts(host))
}

// TestBudget: Total and the context bound a walk over hosts that all hang.
func TestBudget(t *testing.T) {
	var hosts []*mxsim.Host
	for i := range 5 {
		h := &mxsim.Host{Name: fmt.Sprintf("mx%d.example.com", i), Behaviours: []mxsim.Behaviour{
			mxsim.Drip(mxsim.Connect, "220 "+strings.Repeat("x", 100), time.Second),
		}}
		for j := range 3 {
			h.Addrs = append(h.Addrs, netip.AddrFrom4([4]byte{5, 9, byte(i), byte(1 + j)}))
		}
		hosts = append(hosts, h)
	}
	s := &mxsim.Site{Domains: []string{"example.com"}, Hosts: hosts}
	hole := site("hole.test")
	hole.Hosts[0].State = mxsim.BlackHole
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		out := w.probe("anna@example.com")
		if out.Elapsed != 30*time.Second || out.Err == nil || out.LocalLimit {
			t.Errorf("%v: %+v", out.Elapsed, out)
		}
		time.Sleep(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		out = w.probeCtx(ctx, "anna@example.com")
		timeout := errors.Is(out.Err, context.DeadlineExceeded)
		if out.Elapsed != 4*time.Second || !timeout || out.LocalLimit {
			t.Errorf("%v: %+v", out.Elapsed, out)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		out = w.probeCtx(ctx, "anna@hole.test") // too short to say that the host did not answer
		if out.Elapsed != time.Second || out.Err == nil || out.ConnectTimeout {
			t.Errorf("%v: %+v", out.Elapsed, out)
		}
		// The attempt goes on without the one who asked, and is the next one's too.
		if out = w.probe("anna@hole.test"); out.Elapsed != 2*time.Second || !out.ConnectTimeout {
			t.Errorf("%v: %+v", out.Elapsed, out)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if out := w.probeCtx(ctx, "anna@example.com"); out.Elapsed != 0 || out.Err == nil {
			t.Errorf("%v: %+v", out.Elapsed, out)
		}
	}, s, hole)
}

// TestAddresses: at most 3 addresses of a host and 10 in all, IPv4 and IPv6 in turns.
func TestAddresses(t *testing.T) {
	var hosts []*mxsim.Host
	for i := range 5 {
		h := &mxsim.Host{Name: fmt.Sprintf("mx%d.example.com", i), Pref: uint16(i), State: mxsim.Down}
		for j := range 4 {
			h.Addrs = append(h.Addrs, netip.AddrFrom4([4]byte{5, 9, byte(i), byte(1 + j)}))
		}
		h.Addrs = append(h.Addrs, netip.MustParseAddr(fmt.Sprintf("2a00:1450::%d", i)))
		hosts = append(hosts, h)
	}
	s := &mxsim.Site{Domains: []string{"example.com"}, Hosts: hosts}
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		out := w.probe("anna@example.com")
		var tried []string
		for _, step := range out.Steps {
			if to, ok := strings.CutPrefix(step, "connect to "); ok {
				tried = append(tried, to[:strings.Index(to, " ")])
			}
		}
		want := "5.9.0.x:25 [2a00:1450::]:25 5.9.0.x:25 5.9.1.x:25 [2a00:1450::1]:25 5.9.1.x:25 " +
			"5.9.2.x:25 [2a00:1450::2]:25 5.9.2.x:25 5.9.3.x:25"
		for i, to := range tried {
			if strings.HasPrefix(to, "5.") {
				tried[i] = to[:len("5.9.0.")] + "x:25"
			}
		}
		if got := strings.Join(tried, " "); got != want {
			t.Errorf("tried %s\nwant %s", got, want)
		}
	}, s)
}

// TestReuseBroken: a kept session that the server has ended is replaced, once and unnoticed.
func TestReuseBroken(t *testing.T) {
	tests := map[string]func() mxsim.Behaviour{
		"closed":      func() mxsim.Behaviour { return mxsim.Once(afterFirst(mxsim.Mail, mxsim.Answer{Close: true})) },
		"421 to MAIL": func() mxsim.Behaviour { return mxsim.Once(afterFirst(mxsim.Mail, mxsim.Say("421 4.4.2 timeout"))) },
		"452 to MAIL": func() mxsim.Behaviour {
			return mxsim.Once(afterFirst(mxsim.Mail, mxsim.Say("452 4.5.3 too many transactions")))
		},
		"closed RCPT": func() mxsim.Behaviour { return mxsim.Once(afterFirst(mxsim.Rcpt, mxsim.Answer{Close: true})) },
		"452 to RCPT": func() mxsim.Behaviour {
			return mxsim.Once(afterFirst(mxsim.Rcpt, mxsim.Say("452 4.5.3 too many recipients")))
		},
		"limit":       func() mxsim.Behaviour { return mxsim.RcptLimit(1, "452 4.5.3 Too many recipients") },
		"RSET":        func() mxsim.Behaviour { return mxsim.Once(mxsim.Act(mxsim.Reset, mxsim.Say("500 5.5.1 what?"))) },
		"RSET closed": func() mxsim.Behaviour { return mxsim.Once(mxsim.Drop(mxsim.Reset)) },
	}
	for name, behave := range tests {
		for _, keywords := range [][]string{nil, mxsim.Without("PIPELINING")} {
			t.Run(fmt.Sprint(name, len(keywords)), func(t *testing.T) {
				s := site("example.com", behave())
				s.Hosts[0].Keywords = keywords
				inBubble(t, probe.Config{}, func(w *world) {
					t := w.t
					for range 2 {
						out := w.probe("anna@example.com")
						w.wantReply(out, "rcpt", "250")
						settled()
					}
					if n := len(s.Hosts[0].Record().Conns); name != "limit" && n != 2 {
						t.Errorf("%d connections, want 2", n)
					}
					time.Sleep(time.Minute)
					w.polite()
				}, s)
			})
		}
	}
}

// afterFirst acts at a stage of every connection, but not the first time.
func afterFirst(stage mxsim.Stage, a mxsim.Answer) mxsim.Behaviour {
	return func(s *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		return a, e.Stage == stage && s.Commands > 4
	}
}

// TestRateLimitOfTheirs: "too many recipients" on a new session is the answer.
func TestRateLimitOfTheirs(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		w.wantReply(w.probe("anna@example.com"), "rcpt", "452 4.5.3")
	}, site("example.com", mxsim.Refuse(mxsim.Rcpt, "452 4.5.3 Too many recipients")))
}

// TestLinger: a host that is slower than our patience finds a QUIT when it comes to it; meanwhile it
// is left alone, and holds no place of others. Close does not wait for it.
func TestLinger(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		if out := w.probe("anna@example.com"); out.Err == nil || out.Elapsed != 5*time.Second {
			t.Errorf("%+v", out)
		}
		if out := w.probe("nobody@example.com"); out.Err == nil || out.Elapsed != 0 || out.Connected {
			t.Errorf("%+v", out)
		}
		time.Sleep(10 * time.Second)
		if n := len(w.Host("mx.example.com").Record().Conns); n != 1 {
			t.Errorf("%d connections", n)
		}
		w.polite()
		if !w.Host("mx.example.com").Record().Conns[0].Quit {
			t.Error("no QUIT")
		}
		w.probe("anna@example.org")
		start := time.Now()
		if err := w.pool.Close(t.Context()); err != nil || time.Since(start) > 0 {
			t.Errorf("Close took %v: %v", time.Since(start), err)
		}
	}, site("example.com", mxsim.Tarpit(mxsim.Rcpt, 12*time.Second)), site("example.org", mxsim.Silence(mxsim.Rcpt)))
}
