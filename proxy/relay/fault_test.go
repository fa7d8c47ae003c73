package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/proxy/relay"
)

func upNow(p *relay.Pool) string {
	var all []string
	for _, u := range p.Status() {
		all = append(all, fmt.Sprintf("%s %v", u.Address, u.Up))
	}
	return strings.Join(all, ", ")
}

// TestHang: a transaction that uses up its time at one upstream says nothing against the others.
func TestHang(t *testing.T) {
	for _, stage := range []mxsim.Stage{mxsim.XForward, mxsim.Mail, mxsim.Rcpt, mxsim.Data, mxsim.Dot} {
		t.Run(string(stage), func(t *testing.T) {
			hang := mxsim.Once(mxsim.Act(stage, mxsim.Answer{Hang: true}))
			cfg := relay.Config{Upstreams: relay.InOrder("a:25", "b:25"), DataDoneTimeout: 40 * time.Second}
			inBubble(t, cfg, func(s *site) {
				begin, want := time.Now(), 90*time.Second
				if stage == mxsim.Dot {
					want = cfg.DataDoneTimeout
				}
				_, err := s.send()
				if err == nil || err.Reply.Code != 451 || err.Unknown != (stage == mxsim.Dot) {
					t.Errorf("%+v", err)
				}
				if took := time.Since(begin); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
				synctest.Wait() // the trial
				if got := upNow(s.pool); got != "a:25 true, b:25 true" {
					t.Errorf("up: %s; log:\n%s", got, s.log.String())
				}
				s.mail(1)
			}, mxsim.NewRelay("relay.example.com", hang), server())
		})
	}
}

// TestSilentSession: the relay forgot an idle session without a word. The time is over with that
// session; neither it nor the other upstream is down.
func TestSilentSession(t *testing.T) {
	n := 0
	second := mxsim.Once(func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		if e.Stage == mxsim.XForward {
			n++
		}
		return mxsim.Answer{Hang: true}, n == 2
	})
	inBubble(t, relay.Config{Upstreams: relay.InOrder("a:25", "b:25")}, func(s *site) {
		s.mail(1)
		if _, err := s.send(); err == nil || err.Reply.Code != 451 {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		if got := upNow(s.pool); got != "a:25 true, b:25 true" {
			t.Errorf("up: %s; log:\n%s", got, s.log.String())
		}
		s.mail(1)
	}, mxsim.NewRelay("relay.example.com", second), server())
}

// TestSuspect: an upstream whose transaction broke waits for the end of its trial while there are
// others.
func TestSuspect(t *testing.T) {
	cut := mxsim.Once(mxsim.Act(mxsim.Rcpt, mxsim.Answer{Close: true}))
	n := 0
	hang := func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		if e.Stage == mxsim.Connect {
			n++
		}
		return mxsim.Answer{Hang: true}, e.Stage == mxsim.Connect && n > 1
	}
	inBubble(t, relay.Config{Upstreams: relay.InOrder("a:25", "b:25")}, func(s *site) {
		if _, err := s.send(); err == nil || err.Reply.Code != 451 {
			t.Errorf("%v", err)
		}
		begin := time.Now()
		s.mail(3)
		if took := time.Since(begin); took > 0 || s.counts() != "0 3" {
			t.Errorf("%s after %v", s.counts(), took)
		}
		time.Sleep(31 * time.Second)
		if got := upNow(s.pool); got != "a:25 false, b:25 true" ||
			!strings.Contains(s.log.String(), "relay.tls_wrappermode = true") {
			t.Errorf("up: %s; log:\n%s", got, s.log.String())
		}
	}, mxsim.NewRelay("relay.example.com", cut, hang), server())
}

// TestBlackHole: an upstream whose host has vanished costs one transaction 10 s, and no other any.
func TestBlackHole(t *testing.T) {
	gone := server()
	gone.State = mxsim.BlackHole
	inBubble(t, relay.Config{Upstreams: relay.InOrder("a:25", "b:25")}, func(s *site) {
		begin := time.Now()
		s.mail(20)
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("20 messages took %v", took)
		}
		if !strings.Contains(s.log.String(), "nothing answers there") {
			t.Errorf("log:\n%s", s.log.String())
		}
	}, gone, server())
}

// TestBackoff: trials come after 1 s, 2 s, 4 s, … 30 s, and end with the pool.
func TestBackoff(t *testing.T) {
	inBubble(t, relay.Config{}, func(s *site) {
		if err := s.pool.Check(s.t.Context()); err == nil {
			t.Error("Check found no fault")
		}
		begin := time.Now()
		time.Sleep(150*time.Second + time.Millisecond)
		synctest.Wait()
		var at []string
		for _, c := range s.servers["a:25"].Record().Conns {
			at = append(at, c.Start.Sub(begin).String())
		}
		if got := strings.Join(at, " "); got != "0s 1s 3s 7s 15s 31s 1m1s 1m31s 2m1s" {
			t.Errorf("tried at %s", got)
		}
		if n := strings.Count(s.log.String(), "relay cannot be used"); n != 3 {
			t.Errorf("told %d times in 150 s:\n%s", n, s.log.String())
		}
		if got := s.pool.Status()[0]; got.Up || !got.Since.Equal(begin) || got.Open != 0 ||
			!strings.Contains(got.LastError, "421 4.3.2 full; see its own log") {
			t.Errorf("status %+v", got)
		}
	}, mxsim.NewRelay("relay.example.com", mxsim.Refuse(mxsim.Connect, "421 4.3.2 full")))
}

// TestReadiness: a relay that dies while there is no mail is found out by those who ask.
func TestReadiness(t *testing.T) {
	inBubble(t, relay.Config{}, func(s *site) {
		s.mail(1)
		s.set("a:25", true)
		if ok, _ := s.pool.Healthy(); !ok {
			t.Error("down at once, without a trial")
		}
		time.Sleep(time.Minute)
		_, _ = s.pool.Healthy()
		synctest.Wait()
		if ok, detail := s.pool.Healthy(); ok || !strings.Contains(detail, "relay a:25: ") {
			t.Errorf("%v, %q", ok, detail)
		}
		s.set("a:25", false)
		time.Sleep(2 * time.Second)
		if ok, detail := s.pool.Healthy(); !ok || detail != "" {
			t.Errorf("%v, %q", ok, detail)
		}
	}, server())
}

// TestSilentTLS: opportunistic TLS whose handshake hangs leaves time for plaintext, and is left
// alone after that.
func TestSilentTLS(t *testing.T) {
	for _, mode := range []mxsim.TLSMode{mxsim.TLSHang, mxsim.TLSCut, mxsim.TLSGarbage} {
		r := server()
		r.TLS = mode
		inBubble(t, relay.Config{TLS: relay.May}, func(s *site) {
			s.mail(1)
			time.Sleep(2 * time.Second)
			begin := time.Now()
			s.mail(1)
			if took := time.Since(begin); took > 0 {
				t.Errorf("mode %v: the next took %v", mode, took)
			}
			if n := len(r.Record().Conns); n != 3 {
				t.Errorf("mode %v: %d connections, want STARTTLS, plaintext, plaintext", mode, n)
			}
		}, r)
	}
}

// TestWantsLogin: 530 to MAIL is about us. The client keeps its mail and the log says what to do,
// but where clients can log in it is for them.
func TestWantsLogin(t *testing.T) {
	r := server()
	r.Accounts = &mxsim.Accounts{Required: true}
	inBubble(t, relay.Config{}, func(s *site) {
		_, err := s.send()
		if err == nil || err.Reply.Code != 451 || !strings.Contains(err.Error(), "relay.password_file") {
			t.Errorf("%v", err)
		}
	}, r)
	open := server()
	open.Accounts = &mxsim.Accounts{Required: true, Plaintext: true}
	inBubble(t, relay.Config{}, func(s *site) {
		if reply, err := s.send(); err != nil || reply.Code != 530 {
			t.Errorf("%s, %v", reply, err)
		}
	}, open)
}

// TestLoginFaults: what clients do with AUTH never takes an upstream out of use, and the answer is
// the relay's own.
func TestLoginFaults(t *testing.T) {
	for _, c := range []struct {
		name, user string
		fault      mxsim.Behaviour
		accounts   bool
		want       int
	}{
		{"refused", "anna", mxsim.Refuse(mxsim.Auth, "535 5.7.8 no"), true, 535},
		{"later", "anna", mxsim.Refuse(mxsim.Auth, "454 4.7.0 later"), true, 454},
		{"closing", "anna", mxsim.Refuse(mxsim.Auth, "421 4.7.0 too many"), true, 454},
		{"drop", "anna", mxsim.Act(mxsim.Auth, mxsim.Answer{Close: true}), true, 454},
		{"says it back", "anna", mxsim.Refuse(mxsim.Auth, "535 5.7.8 no, "+secret), true, 535},
		{"not offered", "anna", mxsim.Refuse(mxsim.Body, ""), false, 454},
		{"no user", "", mxsim.Refuse(mxsim.Body, ""), true, 535},
		{"NUL", "an\x00na", mxsim.Refuse(mxsim.Body, ""), true, 535},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mxsim.NewRelay("relay.example.com", c.fault)
			if c.accounts {
				r.Accounts = &mxsim.Accounts{Plaintext: true}
			}
			inBubble(t, relay.Config{}, func(s *site) {
				l, reply, err := s.pool.Login(s.t.Context(), "PLAIN", c.user, secret)
				if err != nil {
					reply = err.Reply
				}
				if l != nil || reply.Code != c.want {
					t.Errorf("%v, %s, %v", l, reply, err)
				}
				if text := fmt.Sprint(reply, err, s.log.String()); strings.Contains(text, secret) {
					t.Errorf("the password is in %s", text)
				}
				if got := upNow(s.pool); got != "a:25 true" {
					t.Errorf("up: %s", got)
				}
				s.mail(1)
			}, r)
		})
	}
}

// TestLoginSession: RSET keeps a client's session, a password that is no longer right is 451.
func TestLoginSession(t *testing.T) {
	n := 0
	r := mxsim.NewRelay("relay.example.com", func(_ *mxsim.Session, e mxsim.Event) (mxsim.Answer, bool) {
		if e.Stage == mxsim.Reset {
			n++
		}
		return mxsim.Say("500 5.5.1 not that often"), e.Stage == mxsim.Reset && n > 3
	})
	r.Accounts = &mxsim.Accounts{Plaintext: true, Users: map[string]string{"anna": secret}}
	inBubble(t, relay.Config{}, func(s *site) {
		l, reply, err := s.pool.Login(s.t.Context(), "PLAIN", "anna", secret)
		if err != nil || reply.Code != 235 {
			t.Fatal(reply, err)
		}
		if shown := fmt.Sprintf("%v %+v %#v", l, l, l); strings.Contains(shown, secret) {
			t.Errorf("the password shows: %s", shown)
		}
		m, _ := esmtp.ParseMail("FROM:<anna@sender.test>")
		ctx := context.Background()
		for range 3 {
			tx := l.Begin(esmtp.XForward{}, m)
			if _, err := tx.Rcpt(ctx, rcpt(t)); err != nil {
				t.Fatal(err)
			}
			tx.Abort()
		}
		if reply, err := send(t, l.Begin(esmtp.XForward{}, m)); err != nil || reply.Code != 250 {
			t.Fatal(reply, err)
		}
		if n := len(r.Record().Conns); n != 1 {
			t.Errorf("%d connections", n)
		}
		tx := l.Begin(esmtp.XForward{}, m) // RSET is refused: the next needs another session
		if _, err := tx.Rcpt(ctx, rcpt(t)); err != nil {
			t.Fatal(err)
		}
		tx.Abort()
		if reply, err := send(t, l.Begin(esmtp.XForward{}, m)); err != nil || reply.Code != 250 {
			t.Fatal(reply, err)
		}
		if n := len(r.Record().Conns); n != 2 {
			t.Errorf("%d connections behind a refused RSET", n)
		}
		tx = l.Begin(esmtp.XForward{}, m) // its session breaks: the next needs another
		if _, err := tx.Rcpt(ctx, rcpt(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Data(ctx); err != nil {
			t.Fatal(err)
		}
		tx.Abort()
		synctest.Wait()
		delete(r.Accounts.Users, "anna")
		if reply, err := send(t, l.Begin(esmtp.XForward{}, m)); err == nil || reply.Code != 451 ||
			strings.Contains(err.Error(), secret) {
			t.Error(reply, err)
		}
		l.Close()
		synctest.Wait()
		if got := s.pool.Status()[0]; got.Open != 0 || !got.Up {
			t.Errorf("status %+v", got)
		}
	}, r)
}

// TestAuthUnknown: a pool that never spoke with its relay finds out what that offers.
func TestAuthUnknown(t *testing.T) {
	r := server()
	r.Accounts = &mxsim.Accounts{Plaintext: true}
	inBubble(t, relay.Config{}, func(s *site) {
		_ = s.pool.Auth()
		synctest.Wait()
		if got := fmt.Sprint(s.pool.Auth()); got != "[PLAIN LOGIN]" {
			t.Errorf("mechanisms %s", got)
		}
	}, r)
}

// TestXForwardRefused: mail goes on without XFORWARD, and the log says once what may be the reason.
func TestXForwardRefused(t *testing.T) {
	for _, c := range []struct{ reply, addr, want string }{
		{"550 5.7.0 not authorised", "192.0.2.1", "smtpd_authorized_xforward_hosts"},
		{"501 5.5.4 Bad ADDR syntax: IPV6:2001:db8::1", "IPv6:2001:db8::1", "inet_protocols = ipv4"},
		{"501 5.5.4 Bad HELO syntax", "192.0.2.1", "does not like an attribute"},
	} {
		inBubble(t, relay.Config{}, func(s *site) {
			m, _ := esmtp.ParseMail("FROM:<a@sender.test>")
			for range 2 {
				r, err := send(t, s.pool.Begin(esmtp.XForward{Addr: c.addr}, m))
				if err != nil || r.Code != 250 {
					t.Errorf("%s: %s, %v", c.reply, r, err)
				}
			}
			if n := strings.Count(s.log.String(), c.want); n != 1 {
				t.Errorf("%q is told %d times:\n%s", c.want, n, s.log.String())
			}
		}, mxsim.NewRelay("relay.example.com", mxsim.Refuse(mxsim.XForward, c.reply)))
	}
}

// TestSurplus: sessions beyond MaxIdle, in use at one time, serve for another second; then MaxIdle
// of them are left, for as long as IdleTimeout says.
func TestSurplus(t *testing.T) {
	r := server()
	inBubble(t, relay.Config{MaxIdle: 2, IdleTimeout: time.Minute}, func(s *site) {
		m, _ := esmtp.ParseMail("FROM:<a@sender.test>")
		ctx := context.Background()
		for range 3 {
			var open []*relay.Tx
			for range 5 {
				tx := s.pool.Begin(esmtp.XForward{}, m)
				if _, err := tx.Rcpt(ctx, rcpt(t)); err != nil {
					t.Fatal(err)
				}
				open = append(open, tx)
			}
			for _, tx := range open {
				if _, err := tx.Data(ctx); err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Finish(ctx); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(900 * time.Millisecond)
		}
		if got := r.Record(); len(got.Conns) != 5 || got.Open != 5 {
			t.Errorf("%d connections, %d open; want 5", len(got.Conns), got.Open)
		}
		for _, c := range []struct {
			wait time.Duration
			open int
		}{{200 * time.Millisecond, 2}, {50 * time.Second, 2}, {9 * time.Second, 0}} {
			time.Sleep(c.wait)
			synctest.Wait()
			if got := r.Record().Open; got != c.open {
				t.Errorf("after another %v: %d open, want %d", c.wait, got, c.open)
			}
		}
		for _, c := range r.Record().Conns {
			if !c.Quit {
				t.Error("a session ended without QUIT")
			}
		}
	}, r)
}

// TestCloseDuring: a pool that is closed lets open transactions end, and their sessions with them.
func TestCloseDuring(t *testing.T) {
	inBubble(t, relay.Config{}, func(s *site) {
		m, _ := esmtp.ParseMail("FROM:<a@sender.test>")
		tx := s.pool.Begin(esmtp.XForward{}, m)
		if _, err := tx.Rcpt(s.t.Context(), rcpt(t)); err != nil {
			t.Fatal(err)
		}
		if err := s.pool.Close(); err != nil {
			t.Error(err)
		}
		if _, err := tx.Data(s.t.Context()); err != nil {
			t.Error(err)
		}
		if reply, err := tx.Finish(s.t.Context()); err != nil || reply.Code != 250 {
			t.Error(reply, err)
		}
		synctest.Wait()
		if rec := s.servers["a:25"].Record(); rec.Open != 0 || !rec.Conns[0].Quit {
			t.Errorf("%d open, QUIT %v", rec.Open, rec.Conns[0].Quit)
		}
	}, server())
}

// TestSockets: real ones, TCP with TLS and AUTH beside a Unix one, many clients at a time, one
// upstream that dies.
func TestSockets(t *testing.T) {
	ca, err := mxsim.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(time.Now().AddDate(0, 1, 0), "127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	listen := func(at string) (string, *mxsim.Relay) {
		r := server()
		r.TLS, r.Certificate = mxsim.TLS, cert
		r.Accounts = &mxsim.Accounts{Required: true, Users: map[string]string{"user": secret}}
		address, err := r.Listen(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return address, r
	}
	a, first := listen("127.0.0.1:0")
	b, second := listen("unix:" + filepath.Join(t.TempDir(), "relay"))
	var log lockedLog
	pool := relay.New(relay.Config{
		Upstreams: []relay.Upstream{{Address: a}, {Address: b}}, Hostname: "gate.example.com",
		Timeout: time.Minute, TLS: relay.Verify, RootCAs: ca.Pool, ServerName: "localhost",
		Credentials: func(string) (string, string, bool) { return "user", secret, true },
	}, slog.New(slog.NewTextHandler(&log, nil)))
	m, _ := esmtp.ParseMail("FROM:<a@sender.test>")
	var taken, unknown int
	var mu sync.Mutex
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := range 20 {
				if i == 0 && n == 10 {
					first.Close()
				}
				_, failed := send(t, pool.Begin(esmtp.XForward{Addr: "192.0.2.1"}, m))
				mu.Lock()
				switch {
				case failed == nil:
					taken++
				case failed.Unknown:
					unknown++
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	got := len(first.Messages()) + len(second.Messages())
	if got < taken || got > taken+unknown || taken < 100 {
		t.Errorf("%d taken, %d unknown, %d there; log:\n%s", taken, unknown, got, log.String())
	}
	if ok, detail := pool.Healthy(); !ok || !strings.Contains(detail, a) {
		t.Errorf("%v, %q", ok, detail)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	for _, u := range pool.Status() {
		if u.Open != 0 || u.Idle != 0 {
			t.Errorf("left over: %+v", u)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the password is in the log")
	}
}

type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
