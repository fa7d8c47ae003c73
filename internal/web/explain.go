package web

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// MailReply is a mail server's reply to be read.
type MailReply struct {
	Code     int    `json:"code,omitempty"`     // 0: Text begins with it
	Enhanced string `json:"enhanced,omitempty"` // "": it is looked for in Text
	Text     string `json:"text"`
	Stage    string `json:"stage,omitempty"`
	Provider string `json:"provider,omitempty"`
}

// ReadReply is what it says, as `rcptgate classify` prints it.
type ReadReply struct {
	Label      string  `json:"label"`
	Subject    string  `json:"subject"`
	Confidence float64 `json:"confidence"`
	Rule       string  `json:"rule"`
	Proof      bool    `json:"proof"`
	Exists     bool    `json:"exists"`
	RetryAfter int     `json:"retry_after,omitempty"` // seconds
}

// ClassifyRequest asks what up to 1000 replies mean.
type ClassifyRequest struct {
	Replies []MailReply `json:"replies"`
}

// Classified are the answers in the same order.
type Classified struct {
	Replies []ReadReply `json:"replies"`
}

const maxReplies = 1000

func (c *call) classify() error {
	if c.parts.Classify == nil {
		return missing("gate that runs", "use `rcptgate classify`")
	}
	var asked ClassifyRequest
	if err := c.decode(&asked); err != nil {
		return err
	}
	if len(asked.Replies) > maxReplies {
		return badField("replies", "there are more than "+strconv.Itoa(maxReplies), "send further requests")
	}
	answer := Classified{Replies: make([]ReadReply, len(asked.Replies))}
	for i := range asked.Replies {
		var what, fix string
		if answer.Replies[i], what, fix = c.parts.Classify(asked.Replies[i]); what != "" {
			return badField("replies."+strconv.Itoa(i), what, fix)
		}
	}
	return c.reply(answer)
}

// ExplainRequest asks what would be decided about a recipient, and why.
type ExplainRequest struct {
	Address string `json:"address"`
	Sender  string `json:"sender,omitempty"` // "" and "<>" are a bounce
	Client  string `json:"client,omitempty"` // its IP address; "" is 127.0.0.1
	Helo    string `json:"helo,omitempty"`
	Login   string `json:"login,omitempty"`
	Size    uint64 `json:"size,omitempty"` // of the message, in octets
}

// Explained is a decision that nobody is bound by.
type Explained struct {
	Action  string        `json:"action"` // what the gate would do now
	Shadow  string        `json:"shadow,omitempty"`
	Rule    string        `json:"rule"`
	Reply   string        `json:"reply,omitempty"` // "": the relay's own
	Steps   []ExplainStep `json:"steps"`
	Verdict *Verdict      `json:"verdict,omitempty"` // missing: no rule needed one
	Text    string        `json:"text"`              // all of it, in words for people
}

// ExplainStep is one rule, in the order in which they are asked.
type ExplainStep struct {
	Rule    string `json:"rule"`
	When    string `json:"when"`
	Outcome string `json:"outcome"`
}

// Explain decides about a recipient without counting it, and tells of it in words.
type Explain func(
	ctx context.Context, tx *policy.Transaction, rcpt esmtp.Rcpt,
) (d policy.Decision, text string)

func (c *call) explain() error {
	if c.parts.Explain == nil {
		return missing("gate that runs", "use `rcptgate explain`")
	}
	var asked ExplainRequest
	if err := c.decode(&asked); err != nil {
		return err
	}
	tx, rcpt, err := asked.transaction()
	if err != nil {
		return err
	}
	if !c.api.questions.enter(c.places()) {
		return c.busy()
	}
	defer c.api.questions.leave()
	c.patient(verifyMost + requestTime)
	ctx, cancel := context.WithTimeout(c.r.Context(), verifyMost)
	defer cancel()
	d, text := c.parts.Explain(verify.AskedBy(ctx, c.client()), tx, rcpt)
	if c.accepts("text/plain") {
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = c.w.Write([]byte(text)) // who has gone does not read it
		return nil
	}
	return c.reply(explained(asked.Address, &d, text))
}

func (e *ExplainRequest) transaction() (*policy.Transaction, esmtp.Rcpt, error) {
	var rcpt esmtp.Rcpt
	to, err := esmtp.ParseAddress(e.Address, true)
	if err != nil || to.IsNull() {
		return nil, rcpt, badField("address", shown(e.Address)+" is no address", "write bob@example.com")
	}
	mail := esmtp.Mail{Size: e.Size, HasSize: e.Size > 0, UTF8: to.NeedsUTF8()}
	if e.Sender != "" && e.Sender != "<>" {
		if mail.From, err = esmtp.ParseAddress(e.Sender, true); err != nil {
			return nil, rcpt, badField("sender", shown(e.Sender)+" is no address",
				`write news@example.com, or "<>" for a bounce`)
		}
		mail.UTF8 = mail.UTF8 || mail.From.NeedsUTF8()
	}
	client := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if e.Client != "" {
		if client, err = netip.ParseAddr(e.Client); err != nil {
			return nil, rcpt, badField("client", shown(e.Client)+" is no IP address", `write "192.0.2.1"`)
		}
	}
	return &policy.Transaction{
		Session: "explain", ID: "explain", Mail: mail,
		Client: policy.Client{Addr: client, Helo: e.Helo, Login: e.Login, Proto: "ESMTP"},
	}, esmtp.Rcpt{To: to}, nil
}

func explained(address string, d *policy.Decision, text string) Explained {
	answer := Explained{
		Action: d.Action.String(), Rule: d.Rule, Steps: make([]ExplainStep, len(d.Steps)), Text: text,
	}
	reply := d.Reply
	if d.Shadow != policy.Continue {
		answer.Shadow, reply = d.Shadow.String(), d.ShadowReply
	}
	if !reply.IsZero() {
		answer.Reply = reply.String()
	}
	for i, step := range d.Steps {
		answer.Steps[i] = ExplainStep{step.Rule, step.When, step.Outcome.String()}
	}
	if d.Result != nil {
		verdict := VerdictOf(address, d.Result)
		answer.Verdict = &verdict
	}
	return answer
}

// DrainRequest asks the gate to end.
type DrainRequest struct {
	// Timeout is how long open transactions have; nil: proxy.drain_timeout.
	Timeout *Span `json:"timeout,omitempty"`
}

// Draining tells that it ends.
type Draining struct {
	Draining bool `json:"draining"`
}

const drainMost = time.Hour

func (c *call) drain() error {
	if c.parts.Drain == nil {
		return missing("gate that runs", "there is nothing to end")
	}
	var asked DrainRequest
	if err := c.decode(&asked); err != nil {
		return err
	}
	limit := time.Duration(0)
	if asked.Timeout != nil {
		if limit = time.Duration(*asked.Timeout); limit < time.Second || limit > drainMost {
			return badField("timeout", "it is not from 1s to 1h", `write "30s", or leave it out`)
		}
	}
	c.parts.Drain(limit)
	return c.replyWith(http.StatusAccepted, Draining{true})
}
