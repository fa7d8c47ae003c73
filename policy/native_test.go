package policy

import (
	"net/netip"
	"testing"

	"github.com/expr-lang/expr/vm"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// seeds are conditions of all kinds that are compiled to Go, and some that are not.
func seeds() []string {
	return []string{
		"true", "!trusted", "not null_sender and trusted", `verdict == "undeliverable" && proof`,
		`recipient.domain in ["example.com", "b.example"]`, `recipient.domain not in ["example.net"]`,
		`recipient.local in ["a","b","c","d","e","f","g","h","i","bob"]`,
		`client.helo matches "^a+" || sender.local contains "ew"`, `size > 10 ? trusted : catch_all`,
		`lower(sender.local) == "news" != (upper(client.helo) >= "A")`, `size == 12.0`, `size < -1`,
		`confidence >= 0.5 && deliverability != 1`, `"x" < recipient.local`, `size <= +3`,
		`inNetwork(client.addr, "192.0.2.0/24", "::/0")`, `inNetwork(client.helo, "192.0.2.0/24")`,
		`recipient.address in lists.vips`, `client.login in lists.vips or "m" in marks`,
		`"m" not in marks && trusted == null_sender`, `recipient.role || sender.free || recipient.disposable`,
		`door == "smtp" and sender.role != recipient.free`, `any(["a"], trusted)`, `size + 1 > 2`,
		`recipient.domain endsWith ".net" and mx startsWith "mx" and stage == "rcpt"`, `-size < 0`,
		`sender.recipients_hour >= 0 && sender.invalid < 0.1 || sender.state == "ok"`, `not suppressed`,
		`client.addr == "192.0.2.7" && client.name > client.login`, `reason in ["greylisted"]`,
	}
}

// FuzzNative: the function of Go and the machine of expr give the same, ask alike, and reach the
// same marks.
func FuzzNative(f *testing.F) {
	for _, when := range seeds() {
		f.Add(when, "bob", "example.net", uint64(12), true)
	}
	f.Add(seeds()[0], "Boss", "VIP.example", uint64(1)<<63, false)
	set, _, err := parseList([]byte("boss@vip.example\n.vip.example\nexample.net\njoe\n"))
	if err != nil {
		f.Fatal(err)
	}
	vips := &list{name: "vips"}
	vips.current.Store(set)
	vips.next.Store(1 << 62)
	f.Fuzz(func(t *testing.T, when, local, domain string, size uint64, yes bool) {
		c, fault := compileCondition(when, map[string]*list{"vips": vips})
		if fault != nil || c.native == nil {
			return
		}
		rcpt, err := esmtp.ParseAddress(local+"@"+domain, true)
		if err != nil {
			return
		}
		run := func(condition func(*walk) (bool, error)) (got, asked bool, err error) {
			tx := &Transaction{
				Client: Client{
					Addr: netip.MustParseAddr("::ffff:192.0.2.7"), Helo: local, Login: "joe",
					Name: domain, Trusted: yes,
				},
				Mail: esmtp.Mail{From: rcpt, Size: size},
			}
			w := &walk{engine: new(Engine), ctx: t.Context(), tx: tx, rcpt: &esmtp.Rcpt{To: rcpt}}
			w.facts.walk = w
			w.marks, w.verdicts = []string{"m"}, []string{"m"}
			w.result = &verify.Result{
				Verdict: verify.Undeliverable, Proof: yes, Reason: verify.MailboxUnknown, MX: "mx." + domain,
				Confidence: 0.5, Stage: "rcpt", CatchAll: yes,
			}
			got, err = condition(w)
			return got, w.asked, err
		}
		want, wantAsked, err := run(func(w *walk) (bool, error) {
			value, err := new(vm.VM).Run(c.program, &w.facts)
			matched, _ := value.(bool)
			return matched, err
		})
		if err != nil {
			t.Fatalf("%s: compiled, but the machine fails: %v", when, err)
		}
		if got, asked, _ := run(func(w *walk) (bool, error) { return c.native(w), nil }); got != want || asked != wantAsked {
			t.Fatalf("%s: %v, asked %v; the machine says %v, %v", when, got, asked, want, wantAsked)
		}
	})
}

// TestNativeKinds: the usual conditions need no machine.
func TestNativeKinds(t *testing.T) {
	lists := map[string]*list{"vips": {name: "vips"}}
	slow := map[string]bool{
		`inNetwork(client.helo, "192.0.2.0/24")`: true, `any(["a"], trusted)`: true, `size + 1 > 2`: true,
		`-size < 0`: true, `size <= +3`: true,
	}
	for _, when := range seeds() {
		c, fault := compileCondition(when, lists)
		if fault != nil {
			t.Errorf("%s: %+v", when, fault)
		} else if (c.native == nil) != slow[when] {
			t.Errorf("%s: native %v", when, c.native != nil)
		}
	}
}
