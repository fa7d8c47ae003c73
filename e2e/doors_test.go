package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// doorWorld makes an Internet whose hosts have the addresses from host(first) on.
func doorWorld(t *testing.T, first int) mxsim.Listening {
	t.Helper()
	w := mxsim.New(mxsim.Config{Loopback: true})
	t.Cleanup(w.Close)
	boxes := map[string]mxsim.Mailbox{
		"user": mxsim.Active, "off": mxsim.Disabled, "moved": mxsim.Moved, "info": mxsim.Active,
	}
	for i := range 12 { // of a message with many recipients
		boxes[fmt.Sprintf("user%d", i+1)] = mxsim.Active
	}
	for i, site := range []*mxsim.Site{
		{Domains: []string{"ok.example", "bücher.example", "xn--bcher-kva.example"}},
		{Domains: []string{"sure.example", "friends.example"}},
		{Domains: []string{"catchall.example"}, Behaviours: []mxsim.Behaviour{mxsim.CatchAll()}},
		{Domains: []string{"grey.example"}, Behaviours: []mxsim.Behaviour{mxsim.Greylist(time.Hour)}},
		{Domains: []string{"moved.example"}},
		{
			Domains:   []string{"busy.example"},
			Mailboxes: map[string]mxsim.Mailbox{"user": mxsim.Busy},
		},
		{
			Domains:   []string{"full.example"},
			Mailboxes: map[string]mxsim.Mailbox{"user": mxsim.Full},
		},
		{
			Domains:    []string{"greyall.example"},
			Behaviours: []mxsim.Behaviour{mxsim.GreylistAll(time.Hour)},
		},
		{Domains: []string{"null.example"}, DNS: mxsim.DNSConfig{NullMX: true}},
		{Domains: []string{"gone.example"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSNXDomain}},
		{Domains: []string{"servfail.example"}, DNS: mxsim.DNSConfig{Mode: mxsim.DNSServFail}},
		{Domains: []string{"down.example"}, Hosts: []*mxsim.Host{{State: mxsim.Down}}},
		{Domains: []string{"silent.example"}, Behaviours: []mxsim.Behaviour{mxsim.Silence(mxsim.Rcpt)}},
		{Domains: []string{"blocked.example"}, Behaviours: []mxsim.Behaviour{
			mxsim.Refuse(mxsim.Connect, "554 5.7.1 Your address is on our block list"),
		}},
		{Domains: []string{"policy.example"}, Behaviours: []mxsim.Behaviour{
			mxsim.Refuse(mxsim.Rcpt, "550 5.7.1 Service unavailable; client blocked by policy"),
		}},
		{Domains: []string{"temporary.example"}, Behaviours: []mxsim.Behaviour{
			mxsim.Refuse(mxsim.Rcpt, "451 4.3.0 Temporary lookup failure"),
		}},
		{Domains: []string{"dropping.example"}, Behaviours: []mxsim.Behaviour{mxsim.Drop(mxsim.Rcpt)}},
		{Domains: []string{"choosy.example"}, Behaviours: []mxsim.Behaviour{
			mxsim.RefuseSender("550 5.7.1 Sender refused", "example.org", "gate.example.com"),
		}},
	} {
		if site.Mailboxes == nil {
			site.Mailboxes = boxes
		}
		if site.Hosts == nil {
			site.Hosts = []*mxsim.Host{{}}
		}
		h := site.Hosts[0]
		h.Name, h.Pref, h.Addrs = "mx."+site.Domains[0], 10, append(h.Addrs, host(first+i))
		w.Add(site)
	}
	listening, err := w.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return listening
}

// TestDoors: the gate as before-queue filter of a Postfix and the gate as its policy server decide
// the same about the same recipients. Each has an Internet of its own, because a mail server may
// answer a second question otherwise than the first.
func TestDoors(t *testing.T) {
	needPostfix(t)
	_, sinkAddr := newSink(t)
	var ports [6]string
	for i := range ports {
		ports[i] = freePort(t, host(1))
	}
	filterFront, policyFront, reinjection, smtp, otherSMTP, policyd := ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]
	friends := filepath.Join(t.TempDir(), "friends")
	if err := os.WriteFile(friends, []byte("friend@mailinator.com\nfriends.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := func(listen string, l mxsim.Listening) string {
		return fmt.Sprintf("[proxy]\nlisten = [%q]\nhostname = \"gate.example.com\"\n[relay]\nupstreams = [%q]\n",
			listen, reinjection) + "[log]\nredact = false\n" +
			strings.Replace(doorRules, "FRIENDS", friends, 1) +
			strings.Replace(verifyConfig(l), `"8s"`, `"2s"`, 1)
	}
	filter := newGate(t, smtp, config(smtp, doorWorld(t, 10)))
	server := newGate(t, policyd, config(otherSMTP, doorWorld(t, 100))+
		fmt.Sprintf("[policyd]\nlisten = [%q]\n", policyd))
	p := newPostfix(t, filterFront+` inet n - n - - smtpd
  -o smtpd_proxy_filter=`+smtp+`
  -o smtpd_client_restrictions=
`+policyFront+` inet n - n - - smtpd
  -o smtpd_recipient_restrictions=$policy_restrictions
`+reinjection+` inet n - n - - smtpd
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8
  -o receive_override_options=no_unknown_recipient_checks
`, sinkAddr,
		// Without the gate nothing passes here: it must be the gate that decides.
		"policy_restrictions=check_policy_service { inet:"+policyd+", timeout=30s }",
		"smtpd_authorized_xclient_hosts=127.0.0.0/8", "mynetworks=127.0.0.0/8, 192.0.2.0/24",
		"smtpd_error_sleep_time=0")
	p.start()
	filter.start()
	server.start()
	if len(doorCases) < 60 {
		t.Errorf("only %d cases", len(doorCases))
	}
	for i, tc := range doorCases {
		if tc.from == "" {
			tc.from = fmt.Sprintf("case%d@example.org", i)
		}
		t.Run(fmt.Sprintf("%d %s", i, tc.to), func(t *testing.T) {
			one := tc.run(t, filterFront, filter)
			two := tc.run(t, policyFront, server)
			if one.decision != two.decision || one.words != two.words || one.class() != two.class() {
				t.Errorf("as filter:\n%+v\nas policy server:\n%+v", one, two)
			}
			if got := one.code + " " + one.enhanced; got != tc.want {
				t.Errorf("%s, want %s: %s", got, tc.want, one.text)
			}
			if rule := one.rule(); rule != tc.rule && (tc.rule != "" || !strings.HasPrefix(rule, "built-in")) {
				t.Errorf("decided by %q, want %q", rule, tc.rule)
			}
		})
	}
}

// doorResult is what a client and the log were told.
type doorResult struct {
	text                  string
	code, enhanced, words string
	decision              string // from the log
}

// class is the code as far as Postfix leaves it as the policy server says: for deferrals it has one
// code for all (access_map_defer_code), and 5.1.10 is not in its table.
func (r doorResult) class() string {
	code, enhanced := r.code, r.enhanced
	if code[0] == '4' {
		code = "4"
	}
	if enhanced == "5.1.10" {
		enhanced = "5.1.0"
	}
	return code + " " + enhanced
}

func (r doorResult) rule() string {
	_, rest, _ := strings.Cut(r.decision, "rule=")
	if quoted, ok := strings.CutPrefix(rest, `"`); ok {
		rule, _, _ := strings.Cut(quoted, `"`)
		return rule
	}
	rule, _, _ := strings.Cut(rest, " ")
	return rule
}

var (
	doorReply = regexp.MustCompile(`^(\d{3}) (\d\.\d\.\d+) (.*)$`)
	doorRef   = regexp.MustCompile(`\(?(\(ref |ref=)[A-Z2-7]{8}\)?`)
	// What is the same however often and at whichever address a server is asked.
	doorKeys = regexp.MustCompile(` (recipient|action|shadow|rule|reply|verdict|reason|provider|mx|stage)=("(\\.|[^"])*"|\S*)`)
)

// run sends a recipient through one of the doors.
func (tc doorCase) run(t *testing.T, front string, g *gate) (r doorResult) {
	t.Helper()
	known := len(g.logged("msg=recipient"))
	c, err := entry{address: front}.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	client := testClient{c, t}
	or := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	helo := or(tc.helo, "client.example.net")
	client.want(220, "XCLIENT NAME=%s ADDR=%s PORT=4711 PROTO=ESMTP HELO=%s",
		or(tc.name, "client.example.net"), or(tc.addr, "192.0.2.1"), helo)
	client.want(250, "EHLO %s", helo)
	client.want(250, "MAIL FROM:<%s>%s", strings.Trim(tc.from, "<>"), tc.mail)
	var reply reply
	for others := max(tc.n, 1) - 1; others >= 0; others-- {
		to := tc.to
		if others > 0 { // the policy server counts a recipient of a message once
			to = fmt.Sprintf("user%d@ok.example", others)
		}
		if reply, err = client.cmd("RCPT TO:<%s>", to); err != nil {
			t.Fatal(err)
		}
	}
	match := doorReply.FindStringSubmatch(reply.text)
	if match == nil {
		t.Fatalf("reply %q", reply.text)
	}
	r = doorResult{text: reply.text, code: match[1], enhanced: match[2]}
	// Postfix says whom it is about before the words of the policy server; the gate says it itself in
	// words of its own, and not in those of a rule.
	words := doorRef.ReplaceAllString(match[3], "")
	if _, after, ok := strings.Cut(words, ">: Recipient address rejected: "); ok {
		words = after
	} else if strings.HasPrefix(words, "<") {
		_, words, _ = strings.Cut(words, ">: ")
	}
	r.words = words
	parent := g.t
	g.t = t
	g.awaitLog(known+max(tc.n, 1), "msg=recipient")
	g.t = parent
	lines := g.logged("msg=recipient")
	for _, key := range doorKeys.FindAllString(lines[len(lines)-1], -1) {
		r.decision += key
	}
	return r
}
