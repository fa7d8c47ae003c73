package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// ask is one request over the control socket.
func (s *served) ask(socket, method, path, body string) (status int, answer string) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://gate"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return got.StatusCode, string(data)
}

// TestKeeping: what an administrator tells a running gate decides its next recipient, and outlives
// it.
func TestKeeping(t *testing.T) {
	_, upstream := testRelay(t)
	state := filepath.Join(t.TempDir(), "state")
	socket := filepath.Join(state, "control.sock")
	config := worldConfig("127.0.0.1:0", upstream, testWorld(t)) +
		fmt.Sprintf("[policy]\nstate_directory = %q\n", state)
	s := startServe(t, config)
	d := openDialogue(t, "tcp", s.listening("smtp"))
	s.logged("ready")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "250")
	d.say("RCPT TO:<nobody@example.com>", "550 5.1.1 ")

	status, answer := s.ask(socket, "POST", "/v1/suppressions",
		`{"address": "anna@example.com", "reason": "complaint"}`)
	if status/100 != 2 {
		t.Fatalf("%d: %s", status, answer)
	}
	status, answer = s.ask(socket, "POST", "/v1/overrides",
		`{"kind": "address", "name": "nobody@example.com", "note": "it was created a minute ago"}`)
	if status/100 != 2 {
		t.Fatalf("%d: %s", status, answer)
	}
	d.say("RCPT TO:<anna@example.com>", "550 5.7.1 ")
	d.say("RCPT TO:<nobody@example.com>", "250")
	d.say("QUIT", "221")
	status, answer = s.ask(socket, "POST", "/v1/decisions/search", `{"action": "reject"}`)
	if status != 200 || !strings.Contains(answer, `"rule":"built-in: suppression list"`) ||
		!strings.Contains(answer, `"reason":"mailbox_unknown"`) {
		t.Errorf("%d: %s", status, answer)
	}
	if status, answer = s.ask(socket, "GET", "/v1/status", ""); status != 200 ||
		!strings.Contains(answer, `"ready":true`) {
		t.Errorf("%d: %s", status, answer)
	}

	second := startServe(t, strings.Replace(config, "gate.example.net", "other.example.net", 1))
	if err := second.end(); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second gate in the same directory: %v", err)
	}
	explain := func(rcpt string) string {
		var out, errs strings.Builder
		if code := run([]string{
			"explain", "--config", s.path, "--from", "news@example.org", rcpt,
		}, nil, &out, &errs); code != 0 {
			t.Errorf("explain: exit code %d", code)
		}
		return out.String() + errs.String()
	}
	explained := func(from string) {
		t.Helper()
		for rcpt, want := range map[string]string{
			"anna@example.com":   `reject, by rule "built-in: suppression list"`,
			"Anna@example.com":   `reject, by rule "built-in: suppression list"`,
			"nobody@example.com": "allowed: address nobody@example.com until 20",
			"x@example.com":      `by rule "built-in: refuse what is proven undeliverable"`,
		} {
			if got := explain(rcpt); !strings.Contains(got, want) || !strings.Contains(got, "State of   "+from) ||
				strings.Contains(got, "note:") {
				t.Errorf("%s: %s", rcpt, got)
			}
		}
	}
	explained("the gate that runs (unix:" + socket + ")\n")
	if got := explain("x@example.com"); !strings.Contains(got, "client:127.0.0.1/example.org: state ok\n"+
		"  messages in the last minute, hour and day: 1, 1, 1; recipients: 3, 3, 3\n") {
		t.Errorf("the sender is not told: %s", got)
	}
	status, answer = s.ask(socket, "POST", "/v1/suppressions/search", `{}`)
	if status != 200 || !strings.Contains(answer, `"hits":1}`) {
		t.Errorf("an explanation counts as a hit: %d: %s", status, answer)
	}
	s.stop()
	explained(state + " (no gate runs)\n")
	if _, err := os.Stat(socket); err == nil {
		t.Error("the control socket is left behind")
	}

	again := startServe(t, config)
	d = openDialogue(t, "tcp", again.listening("smtp"))
	again.logged("ready")
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	d.say("RCPT TO:<anna@example.com>", "550 5.7.1 ")
	d.say("RCPT TO:<nobody@example.com>", "250")
	again.stop()
}

// TestPolicyFaults: a wrong rule, list or file of tokens does not change what runs, and is named.
func TestPolicyFaults(t *testing.T) {
	_, upstream := testRelay(t)
	dir := t.TempDir()
	vips, tokens := filepath.Join(dir, "vips"), filepath.Join(dir, "tokens")
	if err := os.WriteFile(vips, []byte("nobody@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tokens, []byte("dashboard read short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rule := "[[policy.rules]]\nname = \"vips\"\nwhen = 'recipient.address in lists.vips'\naction = \"accept\"\n"
	list := fmt.Sprintf("[policy.lists]\nvips = %q\n", vips)
	world := worldConfig("127.0.0.1:0", upstream, testWorld(t))
	good := world + list + rule
	s := startServe(t, good)
	d := openDialogue(t, "tcp", s.listening("smtp"))
	s.logged("ready")
	d.say("EHLO client.example.org", "250")
	d.send("nobody@example.com")

	for _, test := range []struct{ config, fault string }{
		{
			world + list + strings.Replace(rule, "recipient.address", "recipient.adress", 1),
			`policy.rules[0].when: unknown name "recipient.adress"; did you mean "recipient.address"?`,
		},
		{
			world + strings.Replace(list, vips, vips+"-moved", 1) + rule,
			"policy.lists.vips: ",
		},
		{good + "[[policy.limits]]\nname = \"all\"\nper = \"client\"\nmessages = [\"9\"]\n", "policy.limits[0].messages[0]: "},
		{good + "[policy.message.checks]\nform = \"yes\"\n", `policy.message.checks.form: "yes" is no level`},
		{good + fmt.Sprintf("[http]\ntokens_file = %q\n", tokens), tokens + ":1: "},
	} {
		s.write(test.config)
		s.signals <- syscall.SIGHUP
		line := s.logged("configuration not taken over")
		if fault, _ := line["fault"].(string); !strings.Contains(fault, test.fault) {
			t.Errorf("fault %q, want %q", fault, test.fault)
		}
		d.send("nobody@example.com")
	}
	d.say("QUIT", "221")
	s.stop()
}
