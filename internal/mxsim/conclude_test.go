package mxsim

import (
	"strconv"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// classify judges a text as a client hears it.
func classify(t *testing.T, provider string, stage reply.Stage, text string) reply.Class {
	t.Helper()
	fill := strings.NewReplacer("{rcpt}", "nobody@example.com", "{domain}", "example.com", "{peer}", "192.0.2.9",
		"{host}", "mx.example.com", "{from}", "news@shop.example.org")
	code, err := strconv.Atoi(text[:3])
	if err != nil {
		t.Fatal(err)
	}
	r := esmtp.Reply{Code: code, Lines: strings.Split(fill.Replace(text[4:]), "\n")}
	return reply.Classify(reply.Input{
		Code: code, Enhanced: r.Enhanced(), Text: r.Text(), Stage: stage, Provider: provider,
	})
}

// TestConclusions: what the providers are played to say of an unknown mailbox is understood as just
// that, known or disguised; what they say of others never is.
func TestConclusions(t *testing.T) {
	for _, p := range Providers() {
		host := Host{Wording: p.Wording()}
		words := host.wording()
		stage := reply.StageRcpt
		if p.Tells == AfterDot {
			stage = reply.StageDot
		}
		for _, name := range []string{p.Name, ""} {
			c := classify(t, name, stage, words.Unknown)
			if c.Label != reply.MailboxUnknown || !c.Proof {
				t.Errorf("%s as %q: %q is %+v", p.Name, name, words.Unknown, c)
			}
			if c := classify(t, name, stage, words.Full); c.Label != reply.MailboxFull || c.Proof || !c.Exists {
				t.Errorf("%s as %q: %q is %+v", p.Name, name, words.Full, c)
			}
			for _, busy := range []string{words.Busy, words.BusyHard} {
				if c := classify(t, name, stage, busy); c.Label != reply.RateLimited || c.Proof {
					t.Errorf("%s as %q: %q is %+v", p.Name, name, busy, c)
				}
			}
		}
	}
}

// TestConclusionsAboutUs: what is said of us is never understood as a word about the mailbox.
func TestConclusionsAboutUs(t *testing.T) {
	cases := []struct{ provider, text string }{
		{"outlook", outlookNoNull},
		{"outlook", outlookSecond},
		{"outlook", outlookSlower},
		{"outlook", outlookBlocked},
		{"yahoo", yahooSlower},
		{"google", googleSlower},
		{"exchangeonline", microsoftBusy},
		{"gmx", gmxHarvest},
		{"gmx", gmxListed},
		{"gmx", gmxHelo},
		{"gmx", GMXPolicy},
		{"webde", GMXPolicy},
		{"qq", qqFrequency},
		{"netease", neteaseLimit},
		{"mimecast", mimecastLater},
		{"barracuda", barracudaLater},
		{"zerospam", zerospamLater},
		{"cisco", ironportHarv},
		{"trendmicro", ersDUL},
		{"godaddy", godaddyLimit},
		{"orange", orangeFull},
		{"", harvested},
		{"", (&Guard{}).text()},
	}
	for _, c := range cases {
		for _, name := range []string{c.provider, ""} {
			switch got := classify(t, name, reply.StageRcpt, c.text); got.Label {
			case reply.MailboxUnknown, reply.MailboxDisabled, reply.DomainUnknown, reply.Moved, reply.MailboxFull:
				t.Errorf("as %q: %q is %+v", name, c.text, got)
			default:
				if got.Proof || got.Subject == reply.SubjectRecipient {
					t.Errorf("as %q: %q is %+v", name, c.text, got)
				}
			}
		}
	}
}
