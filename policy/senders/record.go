package senders

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// record is an account in the file. Times are seconds since 1970, those of Cells nanoseconds.
type record struct {
	Kind       string           `json:"kind"`
	Name       string           `json:"name"`
	Domain     string           `json:"domain,omitempty"`
	Active     int64            `json:"active"`
	Messages   countsRecord     `json:"messages,omitzero"`
	Recipients countsRecord     `json:"recipients,omitzero"`
	Cells      map[string]int64 `json:"cells,omitempty"`
	Hygiene    *breakerRecord   `json:"hygiene,omitempty"`
}

// countsRecord is the windows of a measure.
type countsRecord struct {
	Minute windowRecord `json:"minute,omitempty"`
	Hour   windowRecord `json:"hour,omitempty"`
	Day    windowRecord `json:"day,omitempty"`
}

// windowRecord is the newest step of a window, and the counts of its steps, the newest first,
// without the zeros at the end. An empty window is no record.
type windowRecord []int64

type breakerRecord struct {
	State  State       `json:"state"`
	Since  int64       `json:"since"`
	Until  int64       `json:"until,omitempty"`
	Grace  int64       `json:"grace,omitempty"`
	Why    string      `json:"why,omitempty"`
	Trial  bool        `json:"trial,omitempty"`
	Tried  int         `json:"tried,omitempty"`
	Failed int         `json:"failed,omitempty"`
	Hour   tallyRecord `json:"hour,omitzero"`
	Day    tallyRecord `json:"day,omitzero"`
}

type tallyRecord struct {
	All     windowRecord `json:"all,omitempty"`
	Invalid windowRecord `json:"invalid,omitempty"`
}

// IsZero leaves an empty record out of the file.
func (r countsRecord) IsZero() bool { return r.Minute == nil && r.Hour == nil && r.Day == nil }

// IsZero leaves an empty record out of the file.
func (r tallyRecord) IsZero() bool { return r.All == nil && r.Invalid == nil }

// recordKinds are the kinds as they stand in the file. Read only.
var recordKinds = []string{"login", "sender", "sender_domain", "client", "client_and_domain"}

// record is a, a copy, as it is written.
func (a *account) record(c clock) record {
	r := record{
		Kind: recordKinds[a.key.kind], Name: a.key.name, Domain: a.key.domain, Active: a.active,
		Messages:   newCountsRecord(&a.counts[messages], c),
		Recipients: newCountsRecord(&a.counts[recipients], c),
	}
	for _, cell := range a.cells {
		if cell.at > c.now {
			if r.Cells == nil {
				r.Cells = make(map[string]int64)
			}
			r.Cells[cell.limit] = cell.at
		}
	}
	if b := a.breaker; b != nil {
		r.Hygiene = &breakerRecord{
			State: b.level.state(), Since: b.since, Until: b.until, Grace: b.grace, Why: b.why,
			Trial: b.trial, Tried: b.tried, Failed: b.failed,
			Hour: newTallyRecord(&b.hour, c.step[hour]), Day: newTallyRecord(&b.day, c.step[day]),
		}
	}
	return r
}

func newCountsRecord(w *[units]window, c clock) countsRecord {
	return countsRecord{
		Minute: newWindowRecord(&w[minute], c.step[minute]),
		Hour:   newWindowRecord(&w[hour], c.step[hour]),
		Day:    newWindowRecord(&w[day], c.step[day]),
	}
}

func newTallyRecord(t *tally, step int64) tallyRecord {
	return tallyRecord{All: newWindowRecord(&t.all, step), Invalid: newWindowRecord(&t.bad, step)}
}

func newWindowRecord(w *window, step int64) windowRecord {
	if w.roll(step); w.sum == 0 {
		return nil
	}
	r := make(windowRecord, 1, 1+slots)
	r[0] = w.at
	for s := w.at; s > w.at-slots && s >= 0; s-- {
		r = append(r, int64(w.n[s%slots]))
	}
	for r[len(r)-1] == 0 {
		r = r[:len(r)-1]
	}
	return r
}

// account is r as an account, rolled to now, or what is wrong with it.
func (r *record) account(p *plan, c clock) (*account, error) {
	k := slices.Index(recordKinds, r.Kind)
	switch {
	case k < 0:
		return nil, fmt.Errorf("kind %q is not known", clip(r.Kind))
	case clip(r.Name) != r.Name, clip(r.Domain) != r.Domain, kind(k) != pair && r.Domain != "",
		r.Name == "" && r.Domain == "":
		return nil, errors.New("the name is not one of a " + r.Kind)
	case r.Active < 0:
		return nil, fmt.Errorf("active at %d", r.Active)
	}
	a := &account{
		key: key{kind: kind(k), name: r.Name, domain: r.Domain}, active: r.Active,
	}
	for m, rec := range [measures]*countsRecord{&r.Messages, &r.Recipients} {
		for u, rec := range [units]windowRecord{rec.Minute, rec.Hour, rec.Day} {
			if err := rec.window(&a.counts[m][u]); err != nil {
				return nil, fmt.Errorf("%s by %s: %w", measure(m), unit(u), err)
			}
		}
	}
	for name, at := range r.Cells {
		a.cells = append(a.cells, cell{limit: name, at: max(at, 0)})
	}
	a.refresh(p, c)
	if r.Hygiene != nil {
		b, err := r.Hygiene.breaker(c)
		if err != nil {
			return nil, err
		}
		b.settle(p, c)
		a.breaker = b
	}
	return a, nil
}

// breaker is r, settled windows and all; its recipients are forgotten.
func (r *breakerRecord) breaker(c clock) (*breaker, error) {
	l := slices.Index(stateNames, r.State)
	switch {
	case l < 0:
		return nil, fmt.Errorf("state %q is not known", clip(string(r.State)))
	case r.Since < 0 || r.Until < 0 || r.Grace < 0:
		return nil, errors.New("a time is negative")
	case r.Failed < 0 || r.Tried < r.Failed || r.Tried > trialSize:
		return nil, fmt.Errorf("%d of %d in the trial", r.Failed, r.Tried)
	case clip(r.Why) != r.Why || !isPrintable(r.Why):
		return nil, errors.New("the reason is not a line of ASCII") // it may stand in a reply
	}
	b := &breaker{
		level: level(l), since: r.Since, until: r.Until, grace: r.Grace, why: r.Why,
		trial: r.Trial, tried: r.Tried, failed: r.Failed,
	}
	for _, t := range []struct {
		rec  tallyRecord
		to   *tally
		unit unit
	}{{r.Hour, &b.hour, hour}, {r.Day, &b.day, day}} {
		if err := errors.Join(t.rec.All.window(&t.to.all), t.rec.Invalid.window(&t.to.bad)); err != nil {
			return nil, fmt.Errorf("verdicts by %s: %w", t.unit, err)
		}
		t.to.roll(c.step[t.unit])
		if t.to.bad.sum > t.to.all.sum {
			return nil, fmt.Errorf("verdicts by %s: %d of %d", t.unit, t.to.bad.sum, t.to.all.sum)
		}
	}
	return b, nil
}

// window puts r into w.
func (r windowRecord) window(w *window) error {
	if len(r) == 0 {
		return nil
	}
	if len(r) > 1+slots || r[0] < 0 || r[0] > int64(time.Hour) {
		return errors.New("it is no window")
	}
	w.at = r[0]
	for i, n := range r[1:] {
		if n < 0 || n > mostNumber-int64(w.sum) || w.at < int64(i) {
			return errors.New("the counts are impossible")
		}
		w.n[(w.at-int64(i))%slots] = uint32(n) //nolint:gosec // checked
		w.sum += uint32(n)                     //nolint:gosec // checked
	}
	return nil
}

func isPrintable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
