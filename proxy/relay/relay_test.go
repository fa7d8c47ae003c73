package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/proxy/relay"
)

// site is a pool and the upstreams behind it, by address.
type site struct {
	t       *testing.T
	servers map[string]*mxsim.Relay
	mu      sync.Mutex
	down    map[string]bool
	pool    *relay.Pool
	log     strings.Builder
}

// inBubble runs f with a pool whose upstreams are these servers, named "a:25", "b:25", ….
func inBubble(t *testing.T, cfg relay.Config, f func(s *site), servers ...*mxsim.Relay) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		onSite(t, cfg, f, servers...)
	})
}

// onSite is inBubble on the real clock.
func onSite(t *testing.T, cfg relay.Config, f func(s *site), servers ...*mxsim.Relay) {
	t.Helper()
	s := &site{t: t, servers: map[string]*mxsim.Relay{}, down: map[string]bool{}}
	for i, server := range servers {
		s.servers[fmt.Sprintf("%c:25", 'a'+i)] = server
	}
	if cfg.Upstreams == nil {
		for i := range servers {
			cfg.Upstreams = append(cfg.Upstreams, relay.Upstream{Address: fmt.Sprintf("%c:25", 'a'+i), Weight: 1})
		}
	}
	cfg.Hostname, cfg.Dial = "gate.example.com", s.dial
	if cfg.Timeout == 0 {
		cfg.Timeout = 90 * time.Second
	}
	s.pool = relay.New(cfg, slog.New(slog.NewTextHandler(&s.log, nil)))
	f(s)
	if err := s.pool.Close(); err != nil {
		t.Error(err)
	}
	for _, server := range servers {
		server.Close()
	}
}

func (s *site) dial(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	down := s.down[address]
	s.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	return s.servers[address].DialContext(ctx, network, address)
}

func (s *site) set(address string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[address] = down
}

func rcpt(t *testing.T) []*esmtp.Rcpt {
	t.Helper()
	r, err := esmtp.ParseRcpt("TO:<b@example.com>", false)
	if err != nil {
		t.Fatal(err)
	}
	return []*esmtp.Rcpt{&r}
}

// send passes one message on and returns the last reply, or the failure.
func send(t *testing.T, tx *relay.Tx) (esmtp.Reply, *relay.Error) {
	t.Helper()
	ctx := context.Background()
	replies, failed := tx.Rcpt(ctx, rcpt(t))
	if failed != nil {
		return failed.Reply, failed
	}
	if !replies[0].Positive() {
		tx.Abort()
		return replies[0], nil
	}
	r, failed := tx.Data(ctx)
	if failed != nil || r.Code != 354 {
		tx.Abort()
		return r, failed
	}
	if err := tx.Write(ctx, []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	return tx.Finish(ctx)
}

func (s *site) send() (esmtp.Reply, *relay.Error) {
	s.t.Helper()
	m, err := esmtp.ParseMail("FROM:<a@sender.test>")
	if err != nil {
		s.t.Fatal(err)
	}
	return send(s.t, s.pool.Begin(esmtp.XForward{Addr: "192.0.2.1"}, m))
}

// mail sends n messages that must be taken.
func (s *site) mail(n int) {
	s.t.Helper()
	for range n {
		if r, err := s.send(); err != nil || r.Code != 250 {
			s.t.Fatalf("reply %s, %v; log:\n%s", r, err, s.log.String())
		}
	}
}

func (s *site) counts() string {
	var all []string
	for _, c := range "abc" {
		if server := s.servers[string(c)+":25"]; server != nil {
			all = append(all, strconv.Itoa(len(server.Messages())))
		}
	}
	return strings.Join(all, " ")
}

func server() *mxsim.Relay { return mxsim.NewRelay("relay.example.com") }

// TestWeights: upstreams of one priority share the mail by weight; the next priority gets none.
func TestWeights(t *testing.T) {
	cfg := relay.Config{Upstreams: []relay.Upstream{
		{Address: "a:25", Priority: 10, Weight: 3},
		{Address: "b:25", Priority: 10, Weight: 1},
		{Address: "c:25", Priority: 20, Weight: 9},
	}}
	inBubble(t, cfg, func(s *site) {
		s.mail(40)
		if got := s.counts(); got != "30 10 0" {
			t.Errorf("shares %s", got)
		}
	}, server(), server(), server())
}

// TestFailover: a dead upstream is left at once, costs no mail, and is used again when it is back.
func TestFailover(t *testing.T) {
	inBubble(t, relay.Config{}, func(s *site) {
		s.set("a:25", true)
		s.mail(10)
		if got := s.counts(); got != "0 10" {
			t.Errorf("with a down: %s", got)
		}
		if ok, detail := s.pool.Healthy(); !ok || !strings.Contains(detail, "relay a:25") {
			t.Errorf("health: %v, %q", ok, detail)
		}
		if !strings.Contains(s.log.String(), "check that it runs") {
			t.Errorf("the log gives no advice:\n%s", s.log.String())
		}
		s.set("a:25", false)
		time.Sleep(31 * time.Second) // the trial
		synctest.Wait()
		s.mail(10)
		if got := s.counts(); got != "5 15" {
			t.Errorf("with a back: %s", got)
		}
		s.set("a:25", true)
		s.set("b:25", true)
		time.Sleep(2 * time.Second) // idle sessions end
		if _, err := s.send(); err == nil || err.Reply.Code != 451 {
			t.Errorf("all down: %v", err)
		}
		if ok, _ := s.pool.Healthy(); ok {
			t.Error("healthy, though all are down")
		}
		s.set("b:25", false) // not yet tried again, but all are down: tried anyway
		s.mail(1)
	}, server(), server())
}

// TestDeadSession: an upstream that dies with its sessions costs no mail when there is another.
func TestDeadSession(t *testing.T) {
	drop := mxsim.Once(mxsim.Act(mxsim.Mail, mxsim.Answer{Close: true}))
	inBubble(t, relay.Config{Upstreams: relay.InOrder("a:25", "b:25")}, func(s *site) {
		s.mail(2)
		if got := s.counts(); got != "1 1" && got != "0 2" {
			t.Errorf("shares %s", got)
		}
	}, mxsim.NewRelay("relay.example.com", drop, mxsim.Act(mxsim.XForward, mxsim.Answer{Close: true})), server())
}

// TestTLS: every mode against every kind of server.
func TestTLS(t *testing.T) {
	ca, err := mxsim.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	issue := func(end time.Time, names ...string) *tls.Certificate {
		c, err := ca.Issue(end, names...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	then := time.Now()
	good := issue(then.AddDate(0, 6, 0), "a")
	for _, c := range []struct {
		name    string
		mode    relay.TLSMode
		server  func(*mxsim.Relay)
		want    int    // reply to the message
		withTLS bool   // it came over TLS
		log     string // the advice
	}{
		{"none", relay.None, func(r *mxsim.Relay) { r.TLS = mxsim.TLS }, 250, false, ""},
		{"may", relay.May, func(r *mxsim.Relay) { r.TLS = mxsim.TLS }, 250, true, ""},
		{"may, not offered", relay.May, func(*mxsim.Relay) {}, 250, false, ""},
		{"may, broken", relay.May, func(r *mxsim.Relay) { r.TLS = mxsim.TLSGarbage }, 250, false, "mend the relay's TLS"},
		{"may, refused", relay.May, func(r *mxsim.Relay) { r.TLS = mxsim.TLSRefused }, 250, false, ""},
		{"encrypt", relay.Encrypt, func(r *mxsim.Relay) { r.TLS = mxsim.TLS }, 250, true, ""},
		{"encrypt, not offered", relay.Encrypt, func(*mxsim.Relay) {}, 451, false, "turn TLS on there"},
		{"encrypt, broken", relay.Encrypt, func(r *mxsim.Relay) { r.TLS = mxsim.TLSGarbage }, 451, false, "relay cannot be used"},
		{"verify", relay.Verify, func(r *mxsim.Relay) { r.TLS, r.Certificate = mxsim.TLS, good }, 250, true, ""},
		{"verify, unknown authority", relay.Verify, func(r *mxsim.Relay) { r.TLS = mxsim.TLS }, 451, false, "relay.tls_"},
		{"verify, expired", relay.Verify, func(r *mxsim.Relay) {
			r.TLS, r.Certificate = mxsim.TLS, issue(then.AddDate(0, 0, -3).UTC(), "a")
		}, 451, false, "to " + then.AddDate(0, 0, -3).Format(time.DateOnly) + ": renew it"},
		{"verify, another name", relay.Verify, func(r *mxsim.Relay) {
			r.TLS, r.Certificate = mxsim.TLS, issue(then.AddDate(0, 6, 0), "other.example.com")
		}, 451, false, "relay.tls_server_name"},
	} {
		for _, wrapper := range []bool{false, true} {
			if wrapper && (c.mode < relay.Encrypt || strings.Contains(c.name, "offered")) {
				continue
			}
			t.Run(fmt.Sprintf("%s, wrapper %v", c.name, wrapper), func(t *testing.T) {
				r := server()
				c.server(r)
				r.Wrapper = wrapper
				cfg := relay.Config{TLS: c.mode, RootCAs: ca.Pool, Wrapper: wrapper}
				onSite(t, cfg, func(s *site) {
					reply, _ := s.send()
					if reply.Code != c.want {
						t.Errorf("reply %s, want %d; log:\n%s", reply, c.want, s.log.String())
					}
					conns := r.Record().Conns
					if got := conns[len(conns)-1].TLS; got != c.withTLS {
						t.Errorf("TLS %v, want %v", got, c.withTLS)
					}
					if !strings.Contains(s.log.String(), c.log) {
						t.Errorf("no %q in the log:\n%s", c.log, s.log.String())
					}
				}, r)
			})
		}
	}
}

const secret = "hunter2-correct-horse"

// TestOwnLogin: credentials of our own, and what goes wrong with them.
func TestOwnLogin(t *testing.T) {
	for _, c := range []struct {
		name     string
		tls      relay.TLSMode
		offered  mxsim.TLSMode
		accounts *mxsim.Accounts
		password string
		want     int
		log      string
	}{
		{"over TLS", relay.Encrypt, mxsim.TLS, &mxsim.Accounts{Required: true}, secret, 250, ""},
		{"LOGIN only", relay.Encrypt, mxsim.TLS, &mxsim.Accounts{Required: true, Mechanisms: []string{"LOGIN"}}, secret, 250, ""},
		{"plaintext on purpose", relay.None, mxsim.NoTLS, &mxsim.Accounts{Required: true, Plaintext: true}, secret, 250, "in plaintext"},
		{"never in plaintext by accident", relay.May, mxsim.NoTLS, &mxsim.Accounts{Plaintext: true}, secret, 451, "is not sent in plaintext"},
		{"wrong password", relay.Encrypt, mxsim.TLS, &mxsim.Accounts{}, "wrong-" + secret, 451, "check its line in relay.password_file"},
		{"no AUTH offered", relay.Encrypt, mxsim.TLS, nil, secret, 451, "offers no AUTH"},
		{"no mechanism of ours", relay.Encrypt, mxsim.TLS, &mxsim.Accounts{Mechanisms: []string{"GSSAPI"}}, secret, 451, "GSSAPI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := server()
			r.TLS, r.Accounts = c.offered, c.accounts
			if c.accounts != nil {
				c.accounts.Users = map[string]string{"user": secret}
			}
			cfg := relay.Config{TLS: c.tls, Credentials: func(string) (string, string, bool) { return "user", c.password, true }}
			inBubble(t, cfg, func(s *site) {
				for range 3 {
					if reply, _ := s.send(); reply.Code != c.want {
						t.Errorf("reply %s, want %d; log:\n%s", reply, c.want, s.log.String())
					}
				}
				if !strings.Contains(s.log.String(), c.log) {
					t.Errorf("no %q in the log:\n%s", c.log, s.log.String())
				}
				if strings.Contains(s.log.String(), secret) {
					t.Errorf("the password is in the log:\n%s", s.log.String())
				}
				if n := len(r.Record().Conns); c.name == "wrong password" && n > 1 {
					t.Errorf("a refused password was tried %d times", n)
				}
			}, r)
		})
	}
}

// TestClientLogin: a client's login has a session of its own, which serves nobody else, and is
// made again when the relay closed it.
func TestClientLogin(t *testing.T) {
	r := server()
	r.TLS, r.Accounts = mxsim.TLS, &mxsim.Accounts{Users: map[string]string{"anna": secret}}
	inBubble(t, relay.Config{TLS: relay.Encrypt}, func(s *site) {
		if err := s.pool.Check(s.t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.pool.Auth()); got != "[PLAIN LOGIN]" {
			t.Errorf("mechanisms %s", got)
		}
		ctx := context.Background()
		if l, reply, err := s.pool.Login(ctx, "PLAIN", "anna", "wrong"); l != nil || err != nil || reply.Code != 535 {
			t.Errorf("wrong password: %v, %s, %v", l, reply, err)
		}
		l, reply, err := s.pool.Login(ctx, "LOGIN", "anna", secret)
		if err != nil || reply.Code != 235 {
			t.Fatalf("%s, %v", reply, err)
		}
		m, _ := esmtp.ParseMail("FROM:<anna@sender.test>")
		for range 2 {
			if reply, err := send(t, l.Begin(esmtp.XForward{}, m)); err != nil || reply.Code != 250 {
				t.Fatalf("%s, %v", reply, err)
			}
			s.mail(1)
		}
		time.Sleep(time.Minute)
		if reply, err := send(t, l.Begin(esmtp.XForward{}, m)); err != nil || reply.Code != 250 {
			t.Fatalf("%s, %v", reply, err)
		}
		l.Close()
		for _, m := range r.Messages() {
			if own := m.From == "anna@sender.test"; own != (m.User == "anna") {
				t.Errorf("mail from %q as %q", m.From, m.User)
			}
		}
		if strings.Contains(s.log.String(), secret) {
			t.Error("the password is in the log")
		}
	}, r)
}

func BenchmarkTransaction(b *testing.B) {
	r := server()
	r.DiscardBodies = true
	address, err := r.Listen(b.Context(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	pool := relay.New(relay.Config{
		Upstreams: relay.InOrder(address), Hostname: "gate.example.com", Timeout: time.Minute,
	}, slog.New(slog.DiscardHandler))
	defer func() { _ = pool.Close() }()
	m, _ := esmtp.ParseMail("FROM:<a@sender.test>")
	one, _ := esmtp.ParseRcpt("TO:<b@example.com>", false)
	rcpts := make([]*esmtp.Rcpt, 50)
	for i := range rcpts {
		rcpts[i] = &one
	}
	b.ReportAllocs()
	ctx := context.Background()
	for b.Loop() {
		tx := pool.Begin(esmtp.XForward{Addr: "192.0.2.1"}, m)
		if _, err := tx.Rcpt(ctx, rcpts); err != nil {
			b.Fatal(err)
		}
		if _, err := tx.Data(ctx); err != nil {
			b.Fatal(err)
		}
		if _, err := tx.Finish(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
