package relay_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/proxy/relay"
)

// TestEarlyAnswer: on real sockets, what the relay says in the middle of a message is no answer to
// its end, whatever it says: the client gets 451, the relay no end of the message, and the session
// is not used again.
func TestEarlyAnswer(t *testing.T) {
	for _, mode := range []relay.TLSMode{relay.None, relay.Encrypt} {
		for _, early := range []string{
			"250 2.0.0 Ok\r\n", "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n", "250-2.0.0 O", "421 4.3.2 closing\r\n",
		} {
			for _, last := range []string{"y\r\n", strings.Repeat("y\r\n", 40_000)} {
				t.Run(mode.String()+" "+early, func(t *testing.T) { earlyAnswer(t, mode, early, last) })
			}
		}
	}
}

func earlyAnswer(t *testing.T, mode relay.TLSMode, early, last string) {
	t.Helper()
	r := mxsim.NewRelay("relay.example.com", mxsim.Once(mxsim.Act(mxsim.Body, mxsim.Answer{Raw: early})))
	if mode != relay.None {
		r.TLS = mxsim.TLS
	}
	address, err := r.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	pool := relay.New(relay.Config{
		Upstreams: relay.InOrder(address), Hostname: "gate.example.com", Timeout: time.Minute, TLS: mode,
	}, slog.New(slog.DiscardHandler))
	m, _ := esmtp.ParseMail("FROM:<a@sender.test>")
	tx := pool.Begin(esmtp.XForward{}, m)
	ctx := context.Background()
	if _, err := tx.Rcpt(ctx, rcpt(t)); err != nil {
		t.Fatal(err)
	}
	if reply, err := tx.Data(ctx); err != nil || reply.Code != 354 {
		t.Fatal(reply, err)
	}
	if err := tx.Write(ctx, []byte(strings.Repeat("x\r\n", 40_000))); err != nil {
		t.Fatal(err)
	}
	for tx.InStep() { // until the network has passed it on
		if t.Context().Err() != nil {
			t.Fatal("nothing came")
		}
	}
	failed := tx.WriteLast(ctx, []byte(last))
	reply, finished := tx.Finish(ctx)
	if failed == nil || finished == nil || finished.Reply.Code != 451 || finished.Unknown {
		t.Errorf("%v; %s, %v", failed, reply, finished)
	}
	if reply, err := send(t, pool.Begin(esmtp.XForward{}, m)); err != nil || reply.Code != 250 {
		t.Errorf("the next: %s, %v", reply, err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	if n := len(r.Messages()); n != 1 {
		t.Errorf("the relay has %d messages", n)
	}
}
