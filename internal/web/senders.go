package web

import (
	"time"

	"github.com/rcptgate/rcptgate/policy/senders"
)

// SearchSenders asks for senders, the worst first.
type SearchSenders struct {
	State senders.State `json:"state"` // only those in this one; "" is all
	Limit int           `json:"limit"` // 0 is 100; at most 1000
}

// Senders are those that were asked for.
type Senders struct {
	Total   int      `json:"total"` // that were chosen in all
	Senders []Sender `json:"senders"`
}

// Sender is a senders.Status in JSON. Times that are not there are not known, or not to come.
type Sender struct {
	Key          string `json:"key"`
	Login        string `json:"login,omitempty"`
	Client       string `json:"client,omitempty"`
	SenderDomain string `json:"sender_domain,omitempty"`

	State senders.State `json:"state"`
	Why   string        `json:"why,omitempty"`
	Since time.Time     `json:"since,omitzero"`
	Until time.Time     `json:"until,omitzero"` // when the trial begins
	Grace time.Time     `json:"grace,omitzero"`
	Last  time.Time     `json:"last,omitzero"` // when it last sent
	Trial *Trial        `json:"trial,omitempty"`

	Messages    Windows `json:"messages"`
	Recipients  Windows `json:"recipients"`
	CheckedHour Checks  `json:"checked_hour"`
	CheckedDay  Checks  `json:"checked_day"`
}

// Windows are counts of the last minute, hour and day.
type Windows struct {
	Minute int `json:"minute"`
	Hour   int `json:"hour"`
	Day    int `json:"day"`
}

// Checks are verdicts about different recipients in a window.
type Checks struct {
	Recipients int     `json:"recipients"`
	Invalid    int     `json:"invalid"`
	Share      float64 `json:"share"`
	Surely     float64 `json:"surely"` // what the breaker goes by
}

// Trial is how a sender does after its rest.
type Trial struct {
	Checked int `json:"checked"`
	Failed  int `json:"failed"`
}

// ReleaseSender asks to end a sender's state, by its key or its login.
type ReleaseSender struct {
	Key string `json:"key"`
}

// Released tells whether the sender was known.
type Released struct {
	Released bool `json:"released"`
}

func (c *call) table() (*senders.Table, error) {
	if c.parts.Senders == nil {
		return nil, missing("table of senders", "see policy.limits and policy.hygiene in the configuration")
	}
	return c.parts.Senders, nil
}

func (c *call) searchSenders() error {
	table, err := c.table()
	if err != nil {
		return err
	}
	var asked SearchSenders
	if err := c.decode(&asked); err != nil {
		return err
	}
	limit, err := limitOf(asked.Limit)
	if err != nil {
		return err
	}
	switch asked.State {
	case "", senders.StateOK, senders.StateWarn, senders.StateThrottle, senders.StateHold:
	default:
		return badField("state", shown(string(asked.State))+" is none", "write ok, warn, throttle or hold")
	}
	answer := Senders{Senders: []Sender{}}
	for _, s := range table.List(time.Now(), 0) {
		if asked.State != "" && s.State != asked.State {
			continue
		}
		if answer.Total++; len(answer.Senders) < limit {
			answer.Senders = append(answer.Senders, senderOf(&s))
		}
	}
	return c.reply(answer)
}

func senderOf(s *senders.Status) Sender {
	out := Sender{
		Key: s.Key, Login: s.Login, Client: s.Client, SenderDomain: s.SenderDomain, State: s.State,
		Why: s.Why, Since: s.Since, Until: s.Until, Grace: s.Grace, Last: s.Active,
		Messages:    Windows{s.MessagesMinute, s.MessagesHour, s.MessagesDay},
		Recipients:  Windows{s.RecipientsMinute, s.RecipientsHour, s.RecipientsDay},
		CheckedHour: checksOf(s.Hour), CheckedDay: checksOf(s.Day),
	}
	if s.Trial {
		out.Trial = &Trial{s.TrialChecked, s.TrialFailed}
	}
	return out
}

func checksOf(c senders.Checks) Checks { return Checks{c.Recipients, c.Invalid, c.Share, c.Surely} }

func (c *call) release() error {
	table, err := c.table()
	if err != nil {
		return err
	}
	var asked ReleaseSender
	if err := c.decode(&asked); err != nil {
		return err
	}
	if asked.Key == "" {
		return badField("key", "there is none", `write a login, or a key such as "login:bob"`)
	}
	return c.reply(Released{table.Release(asked.Key, time.Now())})
}
