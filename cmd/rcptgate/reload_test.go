package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// TestReloadRelay: the new relay is known when the first client comes to it, so that AUTH is offered
// to that one already.
func TestReloadRelay(t *testing.T) {
	_, upstream := testRelay(t)
	login := mxsim.NewRelay("login.example.net")
	login.Accounts = &mxsim.Accounts{Plaintext: true}
	login.Latency = 100 * time.Millisecond
	t.Cleanup(login.Close)
	upstreamAfter, err := login.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := testWorld(t)
	config := func(relay string) string {
		return strings.NewReplacer("[relay]", "auth_without_tls = true\n[relay]\ntls = \"none\"").
			Replace(worldConfig("127.0.0.1:0", relay, at))
	}
	s := startServe(t, config(upstream))
	address := s.listening("tcp")
	s.logged("ready")
	s.write(config(upstreamAfter))
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	client := openDialogue(t, "tcp", address)
	client.say("EHLO client.example.org", "250")
	client.say("AUTH PLAIN AGEAYg==", "535 5.7.8") // the relay's answer: it is offered
	s.stop()
}
