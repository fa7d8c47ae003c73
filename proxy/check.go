package proxy

import (
	"bytes"
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/policy/message"
)

// maxAdded bounds the header fields that the rules of all recipients of a message add to it.
const maxAdded = 32

// collect keeps what the decision about an accepted recipient says of its message.
func (t *transaction) collect(r *recipient) {
	for _, mark := range r.decision.Marks {
		if !slices.Contains(t.marks, mark) {
			t.marks = append(t.marks, mark)
		}
	}
	for _, header := range r.decision.Headers {
		if len(t.headers) < maxAdded && !slices.Contains(t.headers, header) {
			t.headers = append(t.headers, header)
		}
	}
	if !t.st.cfg.Checks.Active() {
		return
	}
	to := message.Recipient{Domain: r.cmd.To.ASCIIDomain()}
	if r.decision.Result != nil {
		to.Provider = r.decision.Result.Provider
	}
	t.checked = append(t.checked, to)
}

// check begins with the checks of the message; nil: there are none.
func (t *transaction) check() *message.Run {
	c := &t.decide.Client
	return t.st.cfg.Checks.Begin(message.Envelope{
		From: t.mail.From, Client: c.Addr, Login: c.Login, UTF8: t.mail.UTF8,
		EightBit: t.mail.Body == "8BITMIME", Marks: t.marks, Recipients: t.checked,
	})
}

// added is what goes on top of a message that begins with p: the header fields that rules add. A
// message that begins with a blank would become a part of the last of them, so it gets none. Nor does
// one that begins with the "From " line of a mailbox file: relays take that out of the first line only,
// and anywhere else it ends the header.
func (t *transaction) added(p []byte) []byte {
	if len(t.headers) == 0 {
		return nil
	}
	if len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		t.s.srv.log.Warn("no header is added: the message begins with a blank", "transaction", t.id)
		return nil
	}
	if bytes.HasPrefix(bytes.TrimLeft(p, ">"), []byte("From ")) {
		t.s.srv.log.Warn("no header is added: the message begins with a From line", "transaction", t.id)
		return nil
	}
	var b strings.Builder
	for _, header := range t.headers {
		b.WriteString(header + "\r\n")
	}
	return []byte(b.String())
}

// judged is the outcome of a message that its checks have been through. In shadow mode they only tell.
func (t *transaction) judged(m *messageLog) (refused bool) {
	switch m.report.Action {
	case message.ActionReject:
		m.outcome = CheckRefused
	case message.ActionDefer:
		m.outcome = CheckDeferred
	case message.ActionPass:
		return false
	}
	return !t.st.cfg.Shadow
}

// findings is what the checks found, for the log: "spf:warn dmarc:reject".
func findings(r *message.Report) string {
	list := make([]string, len(r.Findings))
	for i, f := range r.Findings {
		list[i] = string(f.Check) + ":" + f.Level.String()
	}
	return strings.Join(list, " ")
}
