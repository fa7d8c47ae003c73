package mxsim

import (
	"slices"
	"strings"
)

// Wording is how a server says the standard things. An empty field is worded as Postfix does.
// The words in braces of Answer.Text are filled in.
type Wording struct {
	Banner   string
	Hello    string // the first line of the EHLO reply
	MailOK   string
	RcptOK   string
	Unknown  string // no such mailbox
	Full     string
	Disabled string
	Moved    string
	Busy     string // exists, gets too much mail just now
	BusyHard string // the same with a permanent code
	NotOurs  string // a domain that the host does not serve
	DotOK    string
}

// Postfix 3.x with virtual mailboxes. It proves that a mailbox does not exist (5.1.1).
func Postfix() *Wording {
	return &Wording{
		Banner:   "220 {host} ESMTP Postfix",
		Hello:    "250 {host}",
		MailOK:   "250 2.1.0 Ok",
		RcptOK:   "250 2.1.5 Ok",
		Unknown:  "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown in virtual mailbox table",
		Full:     "452 4.2.2 <{rcpt}>: Recipient address rejected: Mailbox is full",
		Disabled: "550 5.2.1 <{rcpt}>: Recipient address rejected: Mailbox disabled",
		Moved:    "551 5.1.6 <{rcpt}>: Recipient address rejected: User has moved to new@example.net",
		Busy:     "450 4.2.1 <{rcpt}>: Recipient address rejected: Mailbox receives too much mail, try later",
		BusyHard: "550 5.2.1 <{rcpt}>: Recipient address rejected: Mailbox receives too much mail",
		NotOurs:  "554 5.7.1 <{rcpt}>: Relay access denied",
		DotOK:    "250 2.0.0 Ok: queued as {id}",
	}
}

// Exim 4.9x without enhanced codes, as in Debian's default configuration: nothing but the text
// tells the reason.
func Exim() *Wording {
	return &Wording{
		Banner:   "220 {host} ESMTP Exim 4.96 Tue, 24 Nov 2026 08:00:00 +0000",
		Hello:    "250 {host} Hello {helo} [{peer}]",
		MailOK:   "250 OK",
		RcptOK:   "250 Accepted",
		Unknown:  "550 Unknown user",
		Full:     "452 mailbox is full",
		Disabled: "550 This account has been disabled or discontinued",
		Moved:    "551 User has moved to new.address@example.net",
		NotOurs:  "550 relay not permitted",
		DotOK:    "250 OK id=1{id}-0000-00",
	}
}

// EximEnhanced is Exim with enhanced codes written into its messages, on several lines.
func EximEnhanced() *Wording {
	w := Exim()
	w.Unknown = "550 5.1.1 The address <{rcpt}> is not known here.\n5.1.1 Please check the spelling."
	w.Full = "552 5.2.2 The mailbox of <{rcpt}> is over quota."
	w.Disabled = "550 5.2.1 The mailbox of <{rcpt}> is closed."
	return w
}

// Gmail is worded as its MXs do (https://support.google.com/a/answer/3726730).
func Gmail() *Wording {
	return &Wording{
		Banner: "220 mx.google.test ESMTP a1-20020a0cf1234567 - gsmtp",
		Hello:  "250 mx.google.test at your service, [{peer}]",
		MailOK: "250 2.1.0 OK a1-20020a0cf1234567 - gsmtp",
		RcptOK: "250 2.1.5 OK a1-20020a0cf1234567 - gsmtp",
		Unknown: "550 5.1.1 The email account that you tried to reach does not exist. Please try\n" +
			"5.1.1 double-checking the recipient's email address for typos or\n" +
			"5.1.1 unnecessary spaces. For more information, go to\n" +
			"5.1.1  https://support.google.com/mail/?p=NoSuchUser a1-20020a0cf1234567 - gsmtp",
		Full: "452 4.2.2 The recipient's inbox is out of storage space. Please direct the\n" +
			"4.2.2 recipient to https://support.google.com/mail/?p=OverQuotaTemp a1 - gsmtp",
		Disabled: "550 5.2.1 The email account that you tried to reach is inactive. For more\n" +
			"5.2.1 information, go to https://support.google.com/mail/?p=DisabledUser a1 - gsmtp",
		Busy: "450 4.2.1 The user you are trying to contact is receiving mail at a rate that\n" +
			"4.2.1 prevents additional messages from being delivered. For more\n" +
			"4.2.1 information, go to https://support.google.com/mail/?p=ReceivingRate a1 - gsmtp",
		BusyHard: "550 5.2.1 The user you are trying to contact is receiving mail at a rate that\n" +
			"5.2.1 prevents additional messages from being delivered. For more\n" +
			"5.2.1 information, go to https://support.google.com/mail/?p=ReceivingRatePerm a1 - gsmtp",
		DotOK: "250 2.0.0 OK  1700000000 a1-20020a0cf1234567 - gsmtp",
	}
}

// Microsoft365 is Exchange Online with directory based edge blocking: 5.4.1, which does not
// prove anything, for it also refuses mailboxes that exist but are not synchronised.
func Microsoft365() *Wording {
	return &Wording{
		Banner:   "220 {host} Microsoft ESMTP MAIL Service ready at Tue, 24 Nov 2026 08:00:00 +0000",
		Hello:    "250 {host} Hello [{peer}]",
		MailOK:   "250 2.1.0 Sender OK",
		RcptOK:   "250 2.1.5 Recipient OK",
		Unknown:  "550 5.4.1 Recipient address rejected: Access denied. [{host} 2026-11-24 08DD]",
		Full:     "452 4.2.2 Mailbox full",
		Disabled: "550 5.2.1 Mailbox cannot be accessed",
		NotOurs:  "550 5.7.64 TenantAttribution; Relay Access Denied",
		DotOK:    "250 2.6.0 <{id}@{host}> Queued mail for delivery",
	}
}

// Yandex says 5.7.1 where it means that there is no such user.
func Yandex() *Wording {
	w := Postfix()
	w.Banner = "220 mxfront1o.mail.yandex.net ESMTP (Want to use Yandex.Mail for your domain? " +
		"Visit http://pdd.yandex.ru)"
	w.Unknown = "550 5.7.1 No such user!"
	return w
}

// wording returns the host's or its site's, completed.
func (h *Host) wording() Wording {
	chosen := h.Wording
	if chosen == nil && h.site != nil {
		chosen = h.site.Wording
	}
	full := *Postfix()
	if chosen == nil {
		return full
	}
	for _, f := range []struct{ to, from *string }{
		{&full.Banner, &chosen.Banner},
		{&full.Hello, &chosen.Hello},
		{&full.MailOK, &chosen.MailOK},
		{&full.RcptOK, &chosen.RcptOK},
		{&full.Unknown, &chosen.Unknown},
		{&full.Full, &chosen.Full},
		{&full.Disabled, &chosen.Disabled},
		{&full.Moved, &chosen.Moved},
		{&full.Busy, &chosen.Busy},
		{&full.BusyHard, &chosen.BusyHard},
		{&full.NotOurs, &chosen.NotOurs},
		{&full.DotOK, &chosen.DotOK},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	return full
}

// filler sets what the words in braces stand for.
func (s *session) filler(e Event) {
	id, from := "", s.From
	if e.Message != nil {
		id = e.Message.ID
	}
	if e.Stage == Mail {
		from = e.Path
	}
	if e.Stage == Dot && e.Message != nil && len(e.Message.Rcpts) > 0 {
		e.readPath("TO:<"+e.Message.Rcpts[0]+">", "TO:")
	}
	s.fill = filling{
		{"rcpt", e.Path},
		{"from", from},
		{"local", e.Local},
		{"domain", e.Domain},
		{"host", s.Host.Name},
		{"helo", s.Helo},
		{"peer", s.PeerIP},
		{"id", id},
	}
}

// filling is the words in braces of a reply, and what each stands for.
type filling [8]struct{ word, value string }

// replace fills the words in. What is filled in is not looked at again, and braces around anything
// else stay.
func (f *filling) replace(text string) string {
	if !strings.Contains(text, "{") {
		return text // as most replies: it costs nothing
	}
	var out strings.Builder
	for {
		before, rest, open := strings.Cut(text, "{")
		out.WriteString(before)
		if !open {
			return out.String()
		}
		word, after, _ := strings.Cut(rest, "}")
		i := slices.IndexFunc(f[:], func(w struct{ word, value string }) bool { return w.word == word })
		if i < 0 || len(word) == len(rest) {
			out.WriteByte('{')
			text = rest
			continue
		}
		out.WriteString(f[i].value)
		text = after
	}
}

// standard is the answer of a server that does what it is asked, in order, and by the truth.
func (s *session) standard(e Event) Answer {
	w := &s.wording
	switch e.Stage {
	case Connect:
		return Say(w.Banner)
	case Helo:
		return s.standardHello(e)
	case StartTLS:
		return s.standardTLS()
	case Mail:
		switch {
		case s.Host.Accounts != nil && s.Host.Accounts.Required && s.User == "":
			return Say("530 5.7.0 Authentication required")
		case s.Opened:
			return Say("503 5.5.1 Error: nested MAIL command")
		case e.Path == "" && !strings.Contains(e.Line, "<>"):
			return Say("501 5.5.4 Syntax: MAIL FROM:<address>")
		case e.has("SMTPUTF8") && !s.offers("SMTPUTF8"):
			return Say("555 5.5.4 Unsupported option: SMTPUTF8")
		case !ascii(e.Path) && !e.has("SMTPUTF8"):
			return Say("553 5.6.7 Must use SMTPUTF8 for an address that is not ASCII")
		}
		return Say(w.MailOK)
	case Rcpt:
		return s.standardRcpt(e)
	case Data:
		switch {
		case !s.Opened:
			return Say("503 5.5.1 Error: need RCPT command")
		case len(s.rcpts) == 0:
			return Say("554 5.5.1 Error: no valid recipients")
		}
		return Say("354 End data with <CR><LF>.<CR><LF>")
	case Dot:
		return Say(w.DotOK)
	case Auth:
		return s.standardAuth(e.Line)
	case Reset:
		return Say("250 2.0.0 Ok")
	case Quit:
		return Say("221 2.0.0 Bye")
	case XForward:
		if s.offers("XFORWARD") {
			return Say("250 2.0.0 Ok")
		}
	case Other:
		if verb, _, _ := strings.Cut(strings.ToUpper(e.Line), " "); verb == "NOOP" {
			return Say("250 2.0.0 Ok")
		}
	case Body:
		return Answer{}
	}
	return Say("502 5.5.2 Error: command not recognized")
}

func (s *session) standardHello(e Event) Answer {
	verb, name, _ := strings.Cut(e.Line, " ")
	first := s.wording.Hello
	s.Helo = strings.TrimSpace(name)
	if !strings.EqualFold(verb, "EHLO") {
		return Say(first)
	}
	if s.Host.HeloOnly {
		return Say("502 5.5.2 Error: command not recognized")
	}
	lines := append([]string{first}, s.Host.keywords()...)
	if s.Host.TLS != NoTLS && !s.TLS {
		lines = append(lines, "STARTTLS")
	}
	if s.offersAuth() {
		lines = append(lines, "AUTH "+strings.Join(s.Host.Accounts.mechanisms(), " "))
	}
	return Say(strings.Join(lines, "\n"))
}

func (s *session) standardTLS() Answer {
	switch {
	case s.Host.TLS == NoTLS:
		return Say("502 5.5.1 Error: command not implemented")
	case s.TLS:
		return Say("554 5.5.1 Error: TLS already active")
	case s.Host.TLS == TLSRefused:
		return Say("454 4.7.0 TLS not available due to local problem")
	}
	return Say("220 2.0.0 Ready to start TLS")
}

func (s *session) standardRcpt(e Event) Answer {
	w := &s.wording
	switch {
	case !s.Opened:
		return Say("503 5.5.1 Error: need MAIL command")
	case e.Path == "":
		return Say("501 5.5.4 Syntax: RCPT TO:<address>")
	case !ascii(e.Path) && !s.from.has("SMTPUTF8"):
		return Say("553 5.6.7 Must use SMTPUTF8 for an address that is not ASCII")
	case s.Site == nil, strings.EqualFold(e.Path, "postmaster"):
		return Say(w.RcptOK)
	case !s.Site.has(e.Domain):
		return Say(w.NotOurs)
	}
	return Say(w.of(e.Mailbox))
}

// of returns what is said at RCPT of a mailbox in that state.
func (w *Wording) of(state Mailbox) string {
	switch state {
	case Active:
		return w.RcptOK
	case Full:
		return w.Full
	case Disabled:
		return w.Disabled
	case Moved:
		return w.Moved
	case Busy:
		return w.Busy
	case BusyHard:
		return w.BusyHard
	case NoMailbox:
	}
	return w.Unknown
}

func (h *Host) keywords() []string {
	if h.Keywords == nil {
		return DefaultKeywords()
	}
	return h.Keywords
}

func (s *session) offers(keyword string) bool { return s.Host.offers(keyword) }

func (h *Host) offers(keyword string) bool {
	for _, k := range h.keywords() {
		if word, _, _ := strings.Cut(k, " "); strings.EqualFold(word, keyword) {
			return true
		}
	}
	return false
}
