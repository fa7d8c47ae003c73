package probe_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
)

func TestAnswer(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		out := w.probe("anna@example.com")
		w.wantReply(out, "rcpt", "250 2.1.5")
		if out.MX != "mx.example.com" || !out.Addr.IsValid() || !out.Connected || out.TLS {
			t.Errorf("%+v", out)
		}
		w.wantReply(w.probe("nobody@example.com"), "rcpt", "550 5.1.1")
	}, site("example.com"))
}

// TestConversation holds the commands of three recipients in one session: together with PIPELINING,
// in lockstep without, and with HELO where EHLO is not known.
func TestConversation(t *testing.T) {
	tests := []struct {
		name string
		host *mxsim.Host
		want string
	}{
		{"pipelining", &mxsim.Host{}, "EHLO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT RSET QUIT"},
		{
			"lockstep", &mxsim.Host{Keywords: mxsim.Without("PIPELINING")},
			"EHLO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT RSET QUIT",
		},
		{"helo", &mxsim.Host{HeloOnly: true}, "EHLO HELO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT RSET QUIT"},
		{
			"tls", &mxsim.Host{TLS: mxsim.TLS},
			"EHLO STAR EHLO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT RSET QUIT",
		},
		{
			"tls refused", &mxsim.Host{TLS: mxsim.TLSRefused},
			"EHLO STAR MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT RSET QUIT",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := site("example.com")
			host := tt.host
			host.Name = "mx.example.com"
			s.Hosts = []*mxsim.Host{host}
			inBubble(t, probe.Config{}, func(w *world) {
				t := w.t
				for _, rcpt := range []string{"anna", "nobody", "anna"} {
					want := "250"
					if rcpt == "nobody" {
						want = "550 5.1.1"
					}
					out := w.probe(rcpt + "@example.com")
					w.wantReply(out, "rcpt", want)
					if out.TLS != (tt.host.TLS == mxsim.TLS) {
						t.Errorf("TLS = %v", out.TLS)
					}
					settled()
				}
				time.Sleep(time.Minute)
				record := host.Record()
				if len(record.Conns) != 1 || verbs(record.Conns[0]) != tt.want {
					t.Errorf("%d connections, commands %q, want %q",
						len(record.Conns), verbs(record.Conns[0]), tt.want)
				}
				if d := record.Conns[0].End.Sub(record.Conns[0].Start); d != 20*time.Second {
					t.Errorf("the session was kept for %v, want 20s", d)
				}
				w.polite()
			}, s)
		})
	}
}

// TestLeaves: a session is left after RcptPerSession recipients and after 5 refusals.
func TestLeaves(t *testing.T) {
	inBubble(t, probe.Config{RcptPerSession: 7}, func(w *world) {
		t := w.t
		for range 14 {
			w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
			settled()
		}
		for range 10 {
			w.wantReply(w.probe("nobody@example.org"), "rcpt", "550")
			settled()
		}
		for domain, want := range map[string]int{"example.com": 7, "example.org": 5} {
			record := w.Host("mx." + domain).Record()
			if len(record.Conns) != 2 {
				t.Errorf("%s: %d connections, want 2", domain, len(record.Conns))
			}
			for _, c := range record.Conns {
				all := verbs(c)
				if n := strings.Count(all, "RCPT"); n != want || !strings.HasSuffix(all, "RCPT QUIT") {
					t.Errorf("%s: %d recipients in a session, want %d: %s", domain, n, want, all)
				}
			}
		}
		w.polite()
	}, site("example.com"), site("example.org"))
}

// TestWrites: the recipient goes out as the value says, and the sender is never <>.
func TestWrites(t *testing.T) {
	tests := []struct{ rcpt, want string }{
		{"anna@EXAMPLE.com", "RCPT TO:<anna@EXAMPLE.com>"},
		{`"victim@evil.test> NOTIFY=NEVER "@example.com`, `RCPT TO:<"victim@evil.test> NOTIFY=NEVER "@example.com>`},
		{`"a b"@example.com`, `RCPT TO:<"a b"@example.com>`},
		{`"anna"@example.com`, "RCPT TO:<anna@example.com>"},
	}
	for _, tt := range tests {
		inBubble(t, probe.Config{}, func(w *world) {
			t := w.t
			w.probe(tt.rcpt)
			settled()
			var mail, rcpt string
			for _, cmd := range w.Host("mx.example.com").Record().Conns[0].Commands {
				switch cmd.Stage {
				case mxsim.Mail:
					mail = cmd.Line
				case mxsim.Rcpt:
					rcpt = cmd.Line
				default:
				}
			}
			if mail != "MAIL FROM:<sender@example.net>" || rcpt != tt.want {
				t.Errorf("sent %q and %q, want %q", mail, rcpt, tt.want)
			}
		}, site("example.com"))
	}
}

// TestUnasked: what must not be asked connects nowhere.
func TestUnasked(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		good := w.request("anna@example.com")
		tests := map[string]func(*probe.Request){
			"null sender":      func(r *probe.Request) { r.Sender = esmtp.Address{} },
			"null recipient":   func(r *probe.Request) { r.Rcpt = esmtp.Address{} },
			"literal":          func(r *probe.Request) { r.Rcpt = address(t, "anna@[192.0.2.1]") },
			"no hosts":         func(r *probe.Request) { r.Set = mx.Set{} },
			"no HELO":          func(r *probe.Request) { r.Helo = "" },
			"two lines":        func(r *probe.Request) { r.Helo = "a\r\nMAIL FROM:<>" },
			"special address":  func(r *probe.Request) { r.Set.Hosts = []mx.Host{{Name: "internal.example.com"}} },
			"unknown MX":       func(r *probe.Request) { r.Set.Hosts = []mx.Host{{Name: "none.example.com"}} },
			"postmaster alone": func(r *probe.Request) { r.Rcpt = postmaster(t) },
		}
		if err := w.Record("internal.example.com. 300 IN A 127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		for name, change := range tests {
			r := good
			change(&r)
			out := w.pool.Probe(t.Context(), r)
			if out.Err == nil || out.Connected || !out.Reply.IsZero() || out.LocalLimit {
				t.Errorf("%s: %+v", name, out)
			}
		}
		if n := len(w.Host("mx.example.com").Record().Conns); n != 0 {
			t.Errorf("%d connections", n)
		}
	}, site("example.com"))
}

func postmaster(t *testing.T) esmtp.Address {
	t.Helper()
	r, err := esmtp.ParseRcpt("TO:<postmaster>", false)
	if err != nil {
		t.Fatal(err)
	}
	return r.To
}

func TestSelf(t *testing.T) {
	for _, b := range []mxsim.Behaviour{
		mxsim.Act(mxsim.Connect, mxsim.Say("220 Gate.Example.COM. ESMTP")),
		mxsim.Act(mxsim.Helo, mxsim.Say("250-GATE.example.com at your service\nPIPELINING")),
		mxsim.Act(mxsim.Helo, mxsim.Say("550 gate.example.com no")),
	} {
		inBubble(t, probe.Config{OwnNames: []string{"", helo}}, func(w *world) {
			t := w.t
			out := w.probe("anna@example.com")
			if !out.Self || !out.Connected || out.Reply.IsZero() {
				t.Errorf("%+v", out)
			}
			settled()
			if n := w.Host("mx1.example.com").Record().Count(mxsim.Mail); n != 0 {
				t.Errorf("%d MAIL commands to ourselves", n)
			}
			if n := len(w.Host("mx2.example.com").Record().Conns); n != 0 {
				t.Errorf("%d connections to the next host", n)
			}
			w.polite()
		}, twoHosts(&mxsim.Host{Behaviours: []mxsim.Behaviour{b}}))
	}
}

func TestUTF8(t *testing.T) {
	tests := []struct {
		rcpt, keywords, stage, mail, to string
		noUTF8                          bool
	}{
		{"anna@example.com", "SMTPUTF8", "rcpt", "MAIL FROM:<sender@example.net>", "<anna@example.com>", false},
		{"änna@example.com", "SMTPUTF8", "rcpt", "MAIL FROM:<sender@example.net> SMTPUTF8", "<änna@example.com>", false},
		{"änna@example.com", "", "helo", "", "", true},
		{"anna@bücher.example", "SMTPUTF8", "rcpt", "MAIL FROM:<sender@example.net> SMTPUTF8", "<anna@bücher.example>", false},
		{"anna@bücher.example", "", "rcpt", "MAIL FROM:<sender@example.net>", "<anna@xn--bcher-kva.example>", true},
	}
	for _, tt := range tests {
		s := site("example.com")
		s.Domains = append(s.Domains, "xn--bcher-kva.example", "bücher.example")
		s.Hosts[0].Keywords = []string{"PIPELINING", tt.keywords}
		inBubble(t, probe.Config{}, func(w *world) {
			t := w.t
			out := w.probe(tt.rcpt)
			if string(out.Stage) != tt.stage || out.NoUTF8 != tt.noUTF8 || out.Err != nil {
				t.Errorf("%s (%s): %+v", tt.rcpt, tt.keywords, out)
			}
			settled()
			mail, to := "", ""
			for _, cmd := range w.Host("mx.example.com").Record().Conns[0].Commands {
				switch cmd.Stage {
				case mxsim.Mail:
					mail = cmd.Line
				case mxsim.Rcpt:
					to = strings.TrimPrefix(cmd.Line, "RCPT TO:")
				default:
				}
			}
			if mail != tt.mail || to != tt.to {
				t.Errorf("%s (%s): sent %q, %q; want %q, %q", tt.rcpt, tt.keywords, mail, to, tt.mail, tt.to)
			}
			w.polite()
		}, s)
	}
}

func TestDomainRate(t *testing.T) {
	cfg := probe.Config{DomainRate: limit.Rate{Count: 1, Per: time.Second, Burst: 3}}
	inBubble(t, cfg, func(w *world) {
		t := w.t
		limited := 0
		for range 10 {
			if w.probe("anna@example.com").LocalLimit {
				limited++
			}
		}
		if limited != 7 {
			t.Errorf("%d of 10 were over our own rate, want 7", limited)
		}
		w.wantReply(w.probe("anna@example.org"), "rcpt", "250")
		time.Sleep(time.Second)
		w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
	}, site("example.com"), site("example.org"))
}

func TestClose(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
		settled()
		running := make(chan probe.Outcome)
		go func() { running <- w.probe("anna@slow.test") }()
		time.Sleep(time.Second)
		if err := w.pool.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		w.wantReply(<-running, "rcpt", "250") // Close waits for it
		if out := w.probe("anna@example.com"); !errors.Is(out.Err, probe.ErrClosed) {
			t.Errorf("after Close: %+v", out)
		}
		w.polite()
	}, site("example.com"), site("slow.test", mxsim.Tarpit(mxsim.Rcpt, 4*time.Second)))
}

// TestCloseInTime: what does not end by itself is cut when the context of Close ends.
func TestCloseInTime(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		running := make(chan probe.Outcome)
		go func() { running <- w.probe("anna@example.com") }()
		time.Sleep(time.Second)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.pool.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("Close took %v, want 1s", d)
		}
		if out := <-running; out.Err == nil {
			t.Errorf("%+v", out)
		}
	}, site("example.com", mxsim.Silence(mxsim.Connect)))
}
