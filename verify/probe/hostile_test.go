package probe_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// TestHostile: none of these costs more than its time, none is an answer, and none breaks the pool.
func TestHostile(t *testing.T) {
	stages := []mxsim.Stage{
		mxsim.Connect, mxsim.Helo, mxsim.StartTLS, mxsim.Mail, mxsim.Rcpt, mxsim.Reset, mxsim.Quit,
	}
	behaviours := map[string]func(mxsim.Stage) mxsim.Behaviour{
		"endless reply": mxsim.EndlessReply,
		"endless line":  mxsim.EndlessLine,
		"64 KiB line":   func(s mxsim.Stage) mxsim.Behaviour { return mxsim.LongLine(s, "250", 64<<10) },
		"101 lines":     func(s mxsim.Stage) mxsim.Behaviour { return mxsim.ManyLines(s, "550", 101) },
		"drip": func(s mxsim.Stage) mxsim.Behaviour {
			return mxsim.Drip(s, "550 5.1.1 "+strings.Repeat("x", 50), time.Second)
		},
		"silence":       mxsim.Silence,
		"cut":           func(s mxsim.Stage) mxsim.Behaviour { return mxsim.Cut(s, "550 5.1.1 no such us") },
		"cut multiline": func(s mxsim.Stage) mxsim.Behaviour { return mxsim.Cut(s, "550-5.1.1 no such user\r\n") },
		"drop":          mxsim.Drop,
		"garbage":       mxsim.Garbage,
		"mixed codes":   mxsim.MixedCodes,
		"999":           func(s mxsim.Stage) mxsim.Behaviour { return mxsim.BadCode(s, "999") },
		"199":           func(s mxsim.Stage) mxsim.Behaviour { return mxsim.BadCode(s, "199") },
		"221":           func(s mxsim.Stage) mxsim.Behaviour { return mxsim.BadCode(s, "221") },
		"354":           func(s mxsim.Stage) mxsim.Behaviour { return mxsim.BadCode(s, "354") },
		"bare LF":       mxsim.BareLF,
		"control":       mxsim.ControlOctets,
	}
	for name, behave := range behaviours {
		for _, stage := range stages {
			for _, tlsMode := range []mxsim.TLSMode{mxsim.NoTLS, mxsim.TLS} {
				if secure := stage == mxsim.StartTLS || stage == mxsim.Rcpt; tlsMode == mxsim.TLS && !secure ||
					stage == mxsim.StartTLS && tlsMode == mxsim.NoTLS {
					continue // TLS makes no difference at the other stages
				}
				t.Run(fmt.Sprintf("%s/%s/%d", name, stage, tlsMode), func(t *testing.T) {
					s := site("example.com", behave(stage))
					s.Hosts[0].TLS = tlsMode
					inBubble(t, probe.Config{OwnNames: []string{helo}}, func(w *world) {
						t := w.t
						hostile(t, w, stage)
					}, s, site("example.org"))
				})
			}
		}
	}
}

// hostile asks a hostile host twice and a good one after it.
func hostile(t *testing.T, w *world, stage mxsim.Stage) {
	t.Helper()
	for range 2 {
		out := w.probe("anna@example.com")
		answers := stage == mxsim.Reset || stage == mxsim.Quit || stage == mxsim.StartTLS
		if out.Elapsed > 15*time.Second || out.LocalLimit || out.Self {
			t.Errorf("%v: %+v", out.Elapsed, out)
		}
		noUser := esmtp.EnhancedCode{5, 1, 1}
		var pe *esmtp.ProtocolError
		switch {
		case answers:
			w.wantReply(out, "rcpt", "250")
		case out.Err == nil && out.Reply.Code != 550:
			t.Errorf("taken for an answer: %v\n%s", out.Reply, strings.Join(out.Steps, "\n"))
		case out.Err == nil && out.Stage == reply.StageRcpt && out.Reply.Enhanced() == noUser:
			t.Errorf("taken for a refusal of the recipient: %v", out.Reply)
		case errors.As(out.Err, &pe) && pe.Detail == "":
			t.Error("a protocol error without a detail")
		}
		time.Sleep(30 * time.Second) // a session that is kept has ended
	}
	w.wantReply(w.probe("anna@example.org"), "rcpt", "250")
	time.Sleep(time.Minute) // nor does one linger
	if n := w.Host("mx.example.com").Record().Open; n != 0 {
		t.Errorf("%d connections are still open", n)
	}
}

// TestLongAnswer: an over-long line is cut, not refused, and a refusal with odd but printable
// octets is one.
func TestLongAnswer(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		out := w.probe("anna@example.com")
		w.wantReply(out, "rcpt", "550 xxx")
		if n := len(out.Reply.Text()); n > esmtp.MaxReplyLine {
			t.Errorf("%d octets of a line were kept", n)
		}
	}, site("example.com", mxsim.LongLine(mxsim.Rcpt, "550", 20_000)))
}

// TestKeptRefusal: what is remembered of a host's refusal is its beginning and its end.
func TestKeptRefusal(t *testing.T) {
	long := strings.Repeat("554-"+strings.Repeat("x", 1000)+"\r\n", 30) + "554 5.7.1 listed\r\n"
	inBubble(t, probe.Config{}, func(w *world) {
		first, second := w.probe("anna@example.com"), w.probe("anna@example.com")
		if len(first.Reply.Lines) != 31 || len(second.Reply.Lines) != 8 ||
			second.Reply.Enhanced() != first.Reply.Enhanced() || len(second.Reply.Text()) > 8*501 {
			w.t.Errorf("%d lines, then %d: %v", len(first.Reply.Lines), len(second.Reply.Lines), second.Reply)
		}
	}, site("example.com", mxsim.Act(mxsim.Connect, mxsim.Answer{Raw: long})))
}

// TestUnsolicited: a reply that nobody asked for never becomes the answer to a later question.
func TestUnsolicited(t *testing.T) {
	for _, stage := range []mxsim.Stage{mxsim.Connect, mxsim.Helo, mxsim.Mail, mxsim.Rcpt, mxsim.Reset} {
		for _, keywords := range [][]string{nil, mxsim.Without("PIPELINING")} {
			s := site("example.com", mxsim.Unsolicited(stage, text(stage), "550 5.1.1 no such user"))
			s.Hosts[0].Keywords = keywords
			inBubble(t, probe.Config{}, func(w *world) {
				t := w.t
				for range 3 {
					out := w.probe("anna@example.com")
					// With PIPELINING the reply behind that to MAIL is the one to RCPT, by all that
					// can be known: the host contradicts itself.
					contradicts := stage == mxsim.Mail && keywords == nil
					if out.Err == nil && out.Reply.Code == 550 && !contradicts {
						t.Errorf("%s: the unsolicited reply became an answer: %+v", stage, out)
					}
					settled()
				}
			}, s)
		}
	}
}

func text(stage mxsim.Stage) string {
	switch stage {
	case mxsim.Connect:
		return "220 mx.example.com ESMTP"
	case mxsim.Helo:
		return "250-mx.example.com\r\n250 PIPELINING"
	default:
		return "250 2.1.0 Ok"
	}
}
