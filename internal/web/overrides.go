package web

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
)

// Override is a register.Override in JSON.
type Override struct {
	Kind    register.OverrideKind `json:"kind"` // "address", "domain" or "provider"
	Name    string                `json:"name"`
	Note    string                `json:"note,omitempty"`
	Created time.Time             `json:"created"`
	Expires time.Time             `json:"expires"`
}

// Overrides are those in force.
type Overrides struct {
	Overrides []Override `json:"overrides"`
}

// AddOverride asks to allow an address, a domain ("example.com" without its subdomains,
// ".example.com" the subdomains) or a provider; for 7 days if it does not say.
type AddOverride struct {
	Lasting
	Named

	Note string `json:"note"` // why, and who
}

// Named is an address, a domain or a provider.
type Named struct {
	Kind register.OverrideKind `json:"kind"`
	Name string                `json:"name"`
}

// Revoked tells whether there was what was asked to be revoked.
type Revoked struct {
	Revoked bool `json:"revoked"`
}

// Forgotten is what was forgotten, in its normal form.
type Forgotten struct {
	Forgotten string `json:"forgotten"`
}

func (c *call) overrides() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	answer := Overrides{Overrides: []Override{}}
	for _, o := range list.Overrides() {
		answer.Overrides = append(answer.Overrides, overrideOf(&o))
	}
	return c.reply(answer)
}

func overrideOf(o *register.Override) Override {
	return Override{
		Kind: o.Kind, Name: o.Name, Note: o.Note, Created: o.Created.UTC().Truncate(time.Second),
		Expires: o.Expires.UTC().Truncate(time.Second),
	}
}

func (c *call) allow() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	var asked AddOverride
	if err := c.decode(&asked); err != nil {
		return err
	}
	o := register.Override{Kind: asked.Kind, Name: asked.Name, Note: asked.Note, Created: time.Now()}
	if o.Expires, err = asked.until(o.Created); err != nil {
		return err
	}
	if o.Expires.IsZero() {
		o.Expires = o.Created.Add(register.DefaultOverrideTime)
	}
	if err := list.Allow(o); err != nil {
		return err
	}
	return c.reply(overrideOf(&o))
}

func (c *call) revoke() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	var asked Named
	if err := c.decode(&asked); err != nil {
		return err
	}
	var done Revoked
	if done.Revoked, err = list.Revoke(asked.Kind, asked.Name); err != nil {
		return err
	}
	return c.reply(done)
}

// forget makes the verifier forget what it knows.
func (c *call) forget() error {
	var asked Named
	if err := c.decode(&asked); err != nil {
		return err
	}
	var (
		done   Forgotten
		memory = &c.parts.Memory
		err    error
	)
	switch asked.Kind {
	case register.AllowAddress:
		var a esmtp.Address
		if a, err = esmtp.ParseAddress(asked.Name, true); err != nil || a.ASCIIDomain() == "" {
			return badField("name", shown(asked.Name)+" is no address", "write bob@example.com")
		}
		done.Forgotten = a.String()
		err = forgetBy(memory.Address, a)
	case register.AllowDomain:
		var a esmtp.Address
		if a, err = esmtp.ParseAddress("x@"+asked.Name, true); err != nil {
			return badField("name", shown(asked.Name)+" is no domain", "write example.com")
		}
		done.Forgotten = a.ASCIIDomain()
		err = forgetBy(memory.Domain, done.Forgotten)
	case register.AllowProvider:
		const longest = 64 // characters, as for overrides
		done.Forgotten = strings.ToLower(asked.Name)
		if done.Forgotten == "" || len(done.Forgotten) > longest {
			return badField("name", "it is no provider: it has 1 to 64 characters",
				`write a provider as verdicts name it, such as "google"`)
		}
		err = forgetBy(memory.Provider, done.Forgotten)
	default:
		return badField("kind", shown(string(asked.Kind))+" is none", "write address, domain or provider")
	}
	if errors.Is(err, errCannotForget) {
		return problem(http.StatusNotImplemented,
			"what is known of a "+string(asked.Kind)+" cannot be forgotten here",
			"allow it instead, for as long as it is wrong")
	}
	if err != nil {
		return err
	}
	return c.reply(done)
}

var errCannotForget = errors.New("cannot be forgotten")

func forgetBy[T any](fn func(T) error, what T) error {
	if fn == nil {
		return errCannotForget
	}
	return fn(what)
}
