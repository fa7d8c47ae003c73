package register

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
)

const (
	// DefaultOverrideTime is how long an override lasts that does not say.
	DefaultOverrideTime = 7 * 24 * time.Hour
	// MaxOverrides bounds the overrides.
	MaxOverrides = 10_000
	maxProvider  = 64

	overridesFile    = "overrides.tsv"
	overridesVersion = versioned + "overrides 1"
	overridesHead    = overridesVersion + "\n# + kind\tname\tcreated\texpires\tnote\n"
)

// OverrideKind is what an override is about.
type OverrideKind string

// The kinds of override.
const (
	// AllowAddress is one mailbox, whatever the case of ASCII letters in its local part.
	AllowAddress OverrideKind = "address"
	// AllowDomain is a domain: "example.com" is that domain alone, ".example.com" its subdomains,
	// at any depth, without itself.
	AllowDomain OverrideKind = "domain"
	// AllowProvider is a provider, by the name that verdicts give it, in lower case.
	AllowProvider OverrideKind = "provider"
)

// Override allows: no verdict about its recipients refuses them. One of an address or a domain means
// that this mail is to go out: nor does a suppression refuse it. One of a provider means that what its
// servers say is not to be believed, and leaves alone what people have put on the suppression list.
type Override struct {
	Kind    OverrideKind
	Name    string
	Note    string    // for people: why, and who; comes back escaped, cut at MaxNote
	Created time.Time // to the second; zero: now
	Expires time.Time // to the second; zero: DefaultOverrideTime after Created
}

type overrideKey struct {
	kind OverrideKind
	name string
}

// overrides is a set that never changes: a change makes another one.
type overrides struct {
	byAddress, byDomain, byProvider map[string]Override
	below                           int // how many of byDomain begin with a dot
}

func newOverrides(list map[overrideKey]Override) *overrides {
	set := &overrides{
		byAddress: map[string]Override{}, byDomain: map[string]Override{},
		byProvider: map[string]Override{},
	}
	for key, o := range list {
		switch key.kind {
		case AllowAddress:
			set.byAddress[key.name] = o
		case AllowDomain:
			set.byDomain[key.name] = o
			if key.name[0] == '.' {
				set.below++
			}
		default:
			set.byProvider[key.name] = o
		}
	}
	return set
}

// inForce returns a copy of the overrides that have not expired.
func (set *overrides) inForce(now time.Time) map[overrideKey]Override {
	list := map[overrideKey]Override{}
	for _, of := range []map[string]Override{set.byAddress, set.byDomain, set.byProvider} {
		for name, o := range of {
			if now.Before(o.Expires) {
				list[overrideKey{o.Kind, name}] = o
			}
		}
	}
	return list
}

// Allowed returns the override that allows a recipient, by its address or else by its domain or one
// above it. It waits for nothing and allocates nothing.
func (r *Register) Allowed(rcpt esmtp.Address, now time.Time) (o Override, found bool) {
	domain := rcpt.ASCIIDomain()
	if r == nil || domain == "" {
		return Override{}, false
	}
	set := r.allow.Load()
	if len(set.byAddress) > 0 {
		var room [keyRoom]byte
		address := appendAddress(room[:0], rcpt)
		fold(address, len(address)-len(domain)-1)
		if o, ok := set.byAddress[string(address)]; ok && now.Before(o.Expires) {
			return o, true
		}
	}
	if len(set.byDomain) == 0 {
		return Override{}, false
	}
	if o, ok := set.byDomain[domain]; ok && now.Before(o.Expires) {
		return o, true
	}
	if set.below == 0 || rcpt.IsLiteral() {
		return Override{}, false
	}
	for i := range len(domain) {
		if domain[i] != '.' {
			continue
		}
		if o, ok := set.byDomain[domain[i:]]; ok && now.Before(o.Expires) {
			return o, true
		}
	}
	return Override{}, false
}

// AllowedProvider returns the override that allows a provider. It waits for nothing and allocates
// nothing.
func (r *Register) AllowedProvider(name string, now time.Time) (o Override, found bool) {
	if r == nil || name == "" {
		return Override{}, false
	}
	o, found = r.allow.Load().byProvider[name]
	if !found || !now.Before(o.Expires) {
		return Override{}, false
	}
	return o, true
}

// Allow adds an override, in place of the one of this kind and name, and returns when the disk has
// it. The error is a [*FieldError], ErrClosed, or that of the disk: then nothing has changed.
func (r *Register) Allow(o Override) error {
	now := time.Now()
	if o.Created.IsZero() {
		o.Created = now
	}
	if o.Expires.IsZero() {
		o.Expires = o.Created.Add(DefaultOverrideTime)
	}
	if err := o.normalise(); err != nil {
		return err
	}
	if !now.Before(o.Expires) {
		return &FieldError{"expires", "the time has passed", "give a later one, or none for 7 days"}
	}
	return r.changeOverrides(func(list map[overrideKey]Override) error {
		list[overrideKey{o.Kind, o.Name}] = o
		if len(list) > MaxOverrides {
			return &FieldError{
				"name", fmt.Sprintf("there are %d overrides already", MaxOverrides),
				"revoke some, or write a rule that accepts",
			}
		}
		return nil
	})
}

// Revoke removes an override, and reports whether there was one. The error is as of Allow.
func (r *Register) Revoke(kind OverrideKind, name string) (bool, error) {
	o := Override{Kind: kind, Name: name, Created: time.Now(), Expires: time.Now()}
	if err := o.normalise(); err != nil {
		return false, err
	}
	there := false
	err := r.changeOverrides(func(list map[overrideKey]Override) error {
		key := overrideKey{o.Kind, o.Name}
		_, there = list[key]
		delete(list, key)
		return nil
	})
	return there && err == nil, err
}

// Overrides returns those in force, by kind and name.
func (r *Register) Overrides() []Override {
	if r == nil {
		return nil
	}
	return sortedOverrides(r.allow.Load().inForce(time.Now()))
}

func sortedOverrides(list map[overrideKey]Override) []Override {
	return slices.SortedFunc(maps.Values(list), func(a, b Override) int {
		if c := strings.Compare(string(a.Kind), string(b.Kind)); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// changeOverrides makes a change on the disk and then in memory, or none at all.
func (r *Register) changeOverrides(change func(map[overrideKey]Override) error) error {
	if r == nil {
		return ErrClosed
	}
	r.save.Lock()
	defer r.save.Unlock()
	if r.closed {
		return ErrClosed
	}
	list := r.allow.Load().inForce(time.Now())
	if err := change(list); err != nil {
		return err
	}
	if err := r.saveOverrides(list); err != nil {
		return r.store.report(err)
	}
	r.allow.Store(newOverrides(list))
	return nil
}

func (r *Register) saveOverrides(list map[overrideKey]Override) error {
	dir := r.store.dir
	if dir == nil {
		return nil
	}
	err := dir.Write(overridesFile, func(w io.Writer) error {
		text := []byte(overridesHead)
		for _, o := range sortedOverrides(list) {
			text = fmt.Appendf(text, "%s\t%s\t%s\t", entryMark, o.Kind, o.Name)
			text = append(appendTime(text, o.Created.Unix()), '\t')
			text = append(appendTime(text, o.Expires.Unix()), '\t')
			text = append(append(text, o.Note...), '\n')
		}
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	return r.store.syncDir()
}

func (r *Register) loadOverrides(dir *durable.Dir) error {
	list := map[overrideKey]Override{}
	var f found
	_, err := dir.Read(overridesFile, func(in io.Reader) (err error) {
		f, err = readLines(in, overridesVersion, func(line string) error {
			o, err := parseOverride(line)
			if err == nil && len(list) < MaxOverrides {
				list[overrideKey{o.Kind, o.Name}] = o
			}
			return err
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", dir.Path(overridesFile), err)
	}
	logFound(r.log, dir.Path(overridesFile), f)
	if f.damaged > 0 {
		r.store.damaged = append(r.store.damaged, overridesFile)
	}
	r.allow.Store(newOverrides(list))
	return nil
}

func parseOverride(line string) (Override, error) {
	var f [6]string
	if n := cutFields(line, f[:]); n != len(f) || f[0] != entryMark {
		return Override{}, errors.New(`it is not "+" and five fields, between tabs`)
	}
	o := Override{Kind: OverrideKind(f[1]), Name: f[2], Note: f[5]}
	var err error
	if o.Created, err = parseTime(f[3]); err != nil {
		return Override{}, err
	}
	if o.Expires, err = parseTime(f[4]); err != nil {
		return Override{}, err
	}
	return o, o.normalise()
}

// normalise checks an override and puts it in the form that is compared. The error is a
// [*FieldError].
func (o *Override) normalise() error {
	var err error
	switch o.Kind {
	case AllowAddress:
		var room [keyRoom]byte
		var key []byte
		if formOf(o.Name) != mailbox {
			err = &FieldError{"name", quote(o.Name) + " is no mailbox", "allow the domain instead"}
		} else if key, _, err = appendKey(room[:0], o.Name, Scope{}, true); err == nil {
			o.Name = string(key)
		}
	case AllowDomain:
		o.Name, err = overrideDomain(o.Name)
	case AllowProvider:
		o.Name = strings.ToLower(o.Name)
		if o.Name == "" || len(o.Name) > maxProvider || o.Name != clean(o.Name, maxProvider) {
			err = &FieldError{
				"name", quote(o.Name) + " is no provider", `write its name as verdicts have it`,
			}
		}
	default:
		err = &FieldError{
			"kind", quote(string(o.Kind)) + " is no kind", "valid: address, domain, provider",
		}
	}
	if err != nil {
		return err
	}
	for field, t := range map[string]*time.Time{"created": &o.Created, "expires": &o.Expires} {
		s, err := seconds(field, *t)
		if err != nil {
			return err
		}
		*t = time.Unix(s, 0).UTC()
	}
	o.Note = clean(o.Note, MaxNote)
	return nil
}

func overrideDomain(name string) (string, error) {
	bare, below := strings.CutPrefix(name, ".")
	domain, err := asciiDomain(bare)
	if err != nil || below && domain[0] == '[' {
		return "", &FieldError{
			"name", quote(name) + " is no domain",
			`write "example.com" for itself, ".example.com" for its subdomains`,
		}
	}
	if below {
		domain = "." + domain
	}
	return domain, nil
}
