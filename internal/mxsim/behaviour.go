package mxsim

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Refuse answers every command of a stage with this reply: a block of our address ("554" at
// Connect, "550 5.7.1" at Mail or Rcpt), a server out of order, a relay without room, ...
func Refuse(stage Stage, text string) Behaviour {
	return func(_ *Session, e Event) (Answer, bool) {
		return Say(text), e.Stage == stage
	}
}

// Act does something at every command of a stage: Answer{Close: true}, {Hang: true}, {Raw: ...}.
func Act(stage Stage, a Answer) Behaviour {
	return func(_ *Session, e Event) (Answer, bool) { return a, e.Stage == stage }
}

// Once makes b act only the first time that it would, in all connections together.
func Once(b Behaviour) Behaviour {
	var mu sync.Mutex
	done := false
	return func(s *Session, e Event) (Answer, bool) {
		a, ok := b(s, e)
		if !ok {
			return a, false
		}
		mu.Lock()
		defer mu.Unlock()
		first := !done
		done = true
		return a, first
	}
}

// CatchAll takes mail for every local part of the site's domains.
func CatchAll() Behaviour {
	return func(s *Session, e Event) (Answer, bool) {
		ours := e.Stage == Rcpt && s.Opened && s.Site != nil && s.Site.has(e.Domain)
		return Say("250 2.1.5 Ok"), ours
	}
}

// AcceptThenRefuse takes every recipient and refuses after the message those who do not exist
// (Yahoo: "552 1 Requested mail action aborted, mailbox not found"). With several recipients one
// that exists is enough.
func AcceptThenRefuse(text string) Behaviour {
	all := CatchAll()
	return func(s *Session, e Event) (Answer, bool) {
		if e.Stage != Dot || s.Site == nil || e.Message == nil {
			return all(s, e)
		}
		for _, path := range e.Message.Rcpts {
			var rcpt Event
			rcpt.readPath("TO:<"+path+">", "TO:")
			if site := s.Host.siteOf(rcpt.Domain); site != nil && site.Mailbox(rcpt.Local) == Active {
				return Answer{}, false
			}
		}
		return Say(text), true
	}
}

// TellAfterData takes every recipient and refuses after the message, in the server's own words for
// that mailbox, unless one of the recipients is Active.
func TellAfterData() Behaviour {
	return func(s *Session, e Event) (Answer, bool) {
		words := s.Host.wording()
		switch {
		case e.Stage == Rcpt && s.Opened && s.Site != nil && s.Site.has(e.Domain):
			return Say(words.RcptOK), true
		case e.Stage != Dot || e.Message == nil:
			return Answer{}, false
		}
		text := ""
		for _, path := range e.Message.Rcpts {
			var rcpt Event
			rcpt.readPath("TO:<"+path+">", "TO:")
			site := s.Host.siteOf(rcpt.Domain)
			if site == nil {
				return Answer{}, false
			}
			state := site.Mailbox(rcpt.Local)
			if state == Active {
				return Answer{}, false
			}
			if text == "" {
				text = words.of(state)
			}
		}
		return Say(text), text != ""
	}
}

// Greylist defers the first contact of (client network, sender, recipient) as Postgrey does
// behind Postfix: who comes back after the delay passes, and an unknown user is refused at once,
// because Postfix looks the recipient up before it heeds DEFER_IF_PERMIT.
func Greylist(delay time.Duration) Behaviour { return greylist(delay, false) }

// GreylistAll defers every recipient alike, unknown ones too, as spamd and milters do.
func GreylistAll(delay time.Duration) Behaviour { return greylist(delay, true) }

func greylist(delay time.Duration, unknownToo bool) Behaviour {
	var mu sync.Mutex
	first := make(map[string]time.Time)
	return func(s *Session, e Event) (Answer, bool) {
		if e.Stage != Rcpt || !s.Opened || (!unknownToo && e.Mailbox == NoMailbox) {
			return Answer{}, false
		}
		key := strings.ToLower(network(s.PeerIP) + "\x00" + s.From + "\x00" + e.Path)
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		seen, known := first[key]
		if !known {
			first[key] = now
			seen = now
		}
		if now.Sub(seen) >= delay {
			return Answer{}, false
		}
		return Say("450 4.7.1 <{rcpt}>: Recipient address rejected: Greylisted, see " +
			"http://postgrey.schweikert.ch/help/example.com.html"), true
	}
}

// network returns the /24 or /64 of an address: what greylisting takes for one client.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	bits := 24
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ip
	}
	return prefix.String()
}

// RefuseSender refuses senders of these domains at MAIL; "" is the null sender <>.
func RefuseSender(text string, domains ...string) Behaviour {
	return func(_ *Session, e Event) (Answer, bool) {
		if e.Stage != Mail {
			return Answer{}, false
		}
		for _, d := range domains {
			if strings.EqualFold(d, e.Domain) && (d != "" || e.Path == "") {
				return Say(text), true
			}
		}
		return Answer{}, false
	}
}

// Tarpit waits before the reply to each command of a stage.
func Tarpit(stage Stage, delay time.Duration) Behaviour {
	return slow(func(s Stage) bool { return s == stage }, delay)
}

// TarpitAll waits before every reply, the banner included.
func TarpitAll(delay time.Duration) Behaviour {
	return slow(func(s Stage) bool { return s != Body }, delay)
}

// slow delays the reply that those after it in the list give.
func slow(at func(Stage) bool, delay time.Duration) Behaviour {
	return func(_ *Session, e Event) (Answer, bool) {
		return Answer{Delay: delay, pass: true}, at(e.Stage)
	}
}

// RcptLimit answers the recipients of a connection beyond n (Postfix and Microsoft: "452 4.5.3
// Too many recipients"; a text of 421 ends the connection).
func RcptLimit(n int, text string) Behaviour {
	return func(s *Session, e Event) (Answer, bool) {
		return Say(text), e.Stage == Rcpt && s.Rcpts > n
	}
}

// RefusalLimit ends the connection with 421 at the recipient after n refused ones, as Postfix
// does at smtpd_hard_error_limit.
func RefusalLimit(n int) Behaviour {
	return func(s *Session, e Event) (Answer, bool) {
		return Say("421 4.7.0 {host} Error: too many errors"), e.Stage == Rcpt && s.Refused >= n
	}
}

// ErrorDelay waits before the reply to each command of a connection once n recipients were refused,
// as Postfix does at smtpd_soft_error_limit.
func ErrorDelay(n int, delay time.Duration) Behaviour {
	return func(s *Session, e Event) (Answer, bool) {
		return Answer{Delay: delay, pass: true}, e.Stage != Body && e.Stage != Quit && s.Refused >= n
	}
}

// CommandLimit ends the connection with 421 at the command after n.
func CommandLimit(n int) Behaviour {
	return func(s *Session, _ Event) (Answer, bool) {
		return Say("421 4.4.2 {host} Error: too many commands"), s.Commands > n
	}
}

// ConnLimit greets with 421 who would be more than n at one time.
func ConnLimit(n int) Behaviour {
	return func(s *Session, e Event) (Answer, bool) {
		return Say("421 4.7.0 {host} Error: too many connections from {peer}"),
			e.Stage == Connect && s.Host.openNow() > n
	}
}

// Script answers by a function from stage and command line to raw octets; "" leaves the step to
// the others. The reply code that the octets begin with counts.
func Script(f func(stage Stage, line string) string) Behaviour {
	return func(_ *Session, e Event) (Answer, bool) {
		raw := f(e.Stage, e.Line)
		return Answer{Raw: raw}, raw != ""
	}
}
