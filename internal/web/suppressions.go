package web

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Suppression is a register.Suppression in JSON. A time that is not there is never.
type Suppression struct {
	Address  string          `json:"address"`
	Scope    register.Scope  `json:"scope"`
	Reason   register.Reason `json:"reason"`
	Reply    string          `json:"reply,omitempty"` // the remembered refusal: "550 5.1.1"
	Evidence string          `json:"evidence,omitempty"`
	Source   string          `json:"source,omitempty"`
	Bounces  int             `json:"bounces,omitempty"`
	Created  time.Time       `json:"created"`
	Expires  time.Time       `json:"expires,omitzero"`
	Hits     uint64          `json:"hits"`
}

// AddSuppression asks to suppress an address: a mailbox, "*@example.com" or "*@*.example.com".
// Without a time it holds for good.
type AddSuppression struct {
	Lasting

	Address  string          `json:"address"`
	Scope    register.Scope  `json:"scope"`    // "" is global
	Reason   register.Reason `json:"reason"`   // "" is manual
	Reply    string          `json:"reply"`    // of a hard bounce: "550 5.1.1"
	Evidence string          `json:"evidence"` // the proof, for people
	Source   string          `json:"source"`   // who says so; "": the token's name
}

// SearchSuppressions asks for suppressions, by address. What is not set chooses all.
type SearchSuppressions struct {
	SuppressionFilter

	Offset int `json:"offset"`
	Limit  int `json:"limit"` // 0 is 100; at most 1000
}

// SuppressionFilter is a register.Filter in JSON.
type SuppressionFilter struct {
	Contains string          `json:"contains,omitempty"`
	Domain   string          `json:"domain,omitempty"`
	Reason   register.Reason `json:"reason,omitempty"`
	Source   string          `json:"source,omitempty"`
	Scope    *register.Scope `json:"scope,omitempty"`
}

func (f *SuppressionFilter) filter() register.Filter {
	return register.Filter{
		Contains: f.Contains, Domain: f.Domain, Reason: f.Reason, Source: f.Source, Scope: f.Scope,
	}
}

// Suppressions are some of those that were asked for.
type Suppressions struct {
	Total        int           `json:"total"` // that were chosen in all
	Offset       int           `json:"offset"`
	Suppressions []Suppression `json:"suppressions"`
}

// RemoveSuppressions asks to remove the suppression of one address in one scope, or all that a filter
// chooses.
type RemoveSuppressions struct {
	Address string             `json:"address,omitempty"`
	Scope   register.Scope     `json:"scope,omitzero"`
	Where   *SuppressionFilter `json:"where,omitempty"`
}

// Removed is how many there were.
type Removed struct {
	Removed int `json:"removed"`
}

// register is the list, or says that there is none.
func (c *call) register() (*register.Register, error) {
	if c.parts.Register == nil {
		return nil, missing("suppression list", "set policy.state_directory, and start the gate again")
	}
	return c.parts.Register, nil
}

func (c *call) suppress() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	var asked AddSuppression
	if err := c.decode(&asked); err != nil {
		return err
	}
	s := register.Suppression{
		Address: asked.Address, Scope: asked.Scope, Reason: asked.Reason,
		Evidence: asked.Evidence, Source: asked.Source, Created: time.Now(),
	}
	if s.Reason == "" {
		s.Reason = register.Manual
	}
	if s.Source == "" {
		s.Source = c.who
	}
	if asked.Reply != "" {
		if s.Code, s.Enhanced, err = parseCodes(asked.Reply); err != nil {
			return err
		}
	}
	if s.Expires, err = asked.until(s.Created); err != nil {
		return err
	}
	if err := list.Suppress(s); err != nil {
		return err
	}
	return c.reply(suppressionOf(&s))
}

func suppressionOf(s *register.Suppression) Suppression {
	out := Suppression{
		Address: s.Address, Scope: s.Scope, Reason: s.Reason, Evidence: s.Evidence, Source: s.Source,
		Bounces: s.Bounces, Created: s.Created.UTC().Truncate(time.Second), Hits: s.Hits,
	}
	if !s.Expires.IsZero() {
		out.Expires = s.Expires.UTC().Truncate(time.Second)
	}
	if s.Code != 0 {
		out.Reply = strconv.Itoa(s.Code)
		if s.Enhanced != (esmtp.EnhancedCode{}) {
			out.Reply += " " + s.Enhanced.String()
		}
	}
	return out
}

// parseCodes reads the codes of a reply: "550", "550 5.1.1".
func parseCodes(text string) (code int, enhanced esmtp.EnhancedCode, err error) {
	first, second, two := strings.Cut(text, " ")
	code, err = strconv.Atoi(first)
	ok := err == nil && len(first) == 3
	if ok && two {
		enhanced, ok = esmtp.ParseEnhancedCode(second)
	}
	if !ok {
		return 0, enhanced, badField("reply", shown(text)+" are no codes of a reply",
			`write "550" or "550 5.1.1", and its text as evidence`)
	}
	return code, enhanced, nil
}

func (c *call) searchSuppressions() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	var asked SearchSuppressions
	if err := c.decode(&asked); err != nil {
		return err
	}
	limit, err := limitOf(asked.Limit)
	if err != nil {
		return err
	}
	if asked.Offset < 0 {
		return badField("offset", "it is negative", "write 0 or more")
	}
	c.patient(searchTime)
	found, total, err := list.List(asked.filter(), asked.Offset, limit)
	if err != nil {
		return err
	}
	answer := Suppressions{
		Total: total, Offset: asked.Offset, Suppressions: make([]Suppression, len(found)),
	}
	for i := range found {
		answer.Suppressions[i] = suppressionOf(&found[i])
	}
	return c.reply(answer)
}

// limitOf is how many results a request asks for.
func limitOf(asked int) (int, error) {
	switch {
	case asked < 0 || asked > maxLimit:
		return 0, badField("limit", "it is not from 1 to 1000", "ask for the rest in further requests")
	case asked == 0:
		return defaultLimit, nil
	}
	return asked, nil
}

func (c *call) unsuppress() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	var asked RemoveSuppressions
	if err := c.decode(&asked); err != nil {
		return err
	}
	var done Removed
	c.patient(searchTime)
	switch {
	case asked.Where == nil:
		found, err := list.Unsuppress(asked.Address, asked.Scope)
		if err != nil {
			return err
		}
		if found {
			done.Removed = 1
		}
	case asked.Address != "" || asked.Scope != register.Scope{}:
		return badField("where", "there is an address or a scope beside it", "send either")
	default:
		done.Removed, err = list.Remove(asked.Where.filter())
		if field, ok := errors.AsType[*register.FieldError](err); ok && field.Field == "filter" {
			return badField("where", field.Detail, field.Hint)
		} else if err != nil {
			return err
		}
	}
	return c.reply(done)
}
