package reply

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// compiler turns written rules into rules.
type compiler struct {
	words    map[string][]string
	phrases  builder
	features map[string]uint16 // by their phrases
	nears    []near
	pairs    []rawPair
}

// near is a feature that follows from others in one sentence.
type near struct {
	parts []uint16
	whole uint16
}

func compile(files []ruleFile) (*ruleSet, error) {
	c := &compiler{
		words:    map[string][]string{},
		phrases:  builder{map[string][]uint16{}},
		features: map[string]uint16{},
	}
	rs := &ruleSet{}
	for _, file := range files {
		maps.Copy(c.words, file.Words)
	}
	for _, file := range files {
		for _, raw := range file.Rule {
			r, err := c.rule(raw)
			if err != nil {
				return nil, fmt.Errorf("reply: rule %s: %w", raw.Name, err)
			}
			rs.rules = append(rs.rules, r)
		}
	}
	var err error
	rs.auto, err = c.phrases.build()
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	rs.auto.nears = c.nears
	return rs, c.linkPairs(rs.auto)
}

func (c *compiler) rule(raw rawRule) (rule, error) {
	r := rule{
		class: Class{
			Label: raw.Label, Subject: raw.Subject, Confidence: raw.Confidence, Rule: raw.Name,
			Proof: raw.Proof, Exists: raw.Exists,
		},
		policy: raw.Policy, raw: raw.Raw, most: raw.Most, providers: raw.Providers,
	}
	lists := raw.All
	if len(raw.Any) > 0 {
		lists = append([][]string{raw.Any}, lists...)
	}
	for _, list := range lists {
		feature, err := c.feature(list)
		if err != nil {
			return r, err
		}
		r.need = append(r.need, feature)
	}
	if len(raw.Near) > 0 {
		feature, err := c.nearFeature(raw.Near)
		if err != nil {
			return r, err
		}
		r.need = append(r.need, feature)
	}
	if len(raw.Not) > 0 {
		feature, err := c.feature(raw.Not)
		if err != nil {
			return r, err
		}
		r.not = []uint16{feature}
	}
	for _, s := range raw.Codes {
		from, to, ranged := strings.Cut(s, "-")
		if !ranged {
			from, to = strings.ReplaceAll(s, "x", "0"), strings.ReplaceAll(s, "x", "9")
		}
		code, err := parseRange(from, to)
		if err != nil || code.from < 100 || code.to > 999 {
			return r, fmt.Errorf("code %q: write 550, 55x, 5xx or 530-539", s)
		}
		r.codes = append(r.codes, code)
	}
	for _, s := range raw.Enhanced {
		p, err := parsePattern(s)
		if err != nil {
			return r, err
		}
		r.enhanced = append(r.enhanced, p)
	}
	return r, r.setStages(raw)
}

func (r *rule) setStages(raw rawRule) error {
	for _, s := range raw.Stages {
		bit := stageBit(s)
		if bit == 0 {
			return fmt.Errorf("no such stage: %q", s)
		}
		r.stages |= bit
	}
	if r.stages != 0 {
		return nil
	}
	r.stages = 1<<len(allStages()) - 1
	if raw.Subject == SubjectRecipient || raw.Subject == SubjectDomain {
		r.stages &^= earlyStages()
	}
	return nil
}

// feature gives a list of phrases its number; equal lists share one.
func (c *compiler) feature(list []string) (uint16, error) {
	key := strings.Join(list, "\n")
	if feature, ok := c.features[key]; ok {
		return feature, nil
	}
	if len(c.features)+len(c.nears) >= maxFeatures {
		return 0, fmt.Errorf("more than %d lists of phrases", maxFeatures)
	}
	feature := uint16(len(c.features)) //nolint:gosec // bounded above
	c.features[key] = feature
	for _, phrase := range c.flat(list) {
		if before, after, ok := strings.Cut(phrase, "~"); ok {
			if err := c.pair(before, after, feature); err != nil {
				return 0, err
			}
			continue
		}
		all, err := c.expand(phrase)
		if err != nil {
			return 0, err
		}
		for _, p := range all {
			if p == "" {
				return 0, fmt.Errorf("phrase %q can be empty", phrase)
			}
			c.phrases.add(p, feature)
		}
	}
	return feature, nil
}

// flat puts the entries of a list of words in the place of a phrase that is nothing but its
// name, as they may be pairs.
func (c *compiler) flat(list []string) []string {
	var all []string
	for _, phrase := range list {
		name, ok := strings.CutPrefix(phrase, "{")
		name, end := strings.CutSuffix(name, "}")
		if words, known := c.words[name]; ok && end && known {
			all = append(all, words...)
			continue
		}
		all = append(all, phrase)
	}
	return all
}

// rawPair is a pair before its features have slots.
type rawPair struct {
	from, to uint16
	gap      int32
	whole    uint16
}

// defaultGap is how many words "A ~ B" lets between; "A ~5 B" says it.
const defaultGap = 2

// pair makes "A ~ B" one way to have a feature.
func (c *compiler) pair(before, after string, whole uint16) error {
	p := rawPair{gap: defaultGap, whole: whole}
	if n := numberEnd(after, 0); n > 0 {
		p.gap, after = int32(number(after[:min(n, 3)])), after[n:] //nolint:gosec // three digits
	}
	var err error
	if p.from, err = c.feature([]string{strings.TrimSpace(before)}); err != nil {
		return err
	}
	if p.to, err = c.feature([]string{strings.TrimSpace(after)}); err != nil {
		return err
	}
	c.pairs = append(c.pairs, p)
	return nil
}

// linkPairs gives the automaton its pairs.
func (c *compiler) linkPairs(a *automaton) error {
	a.slotOf, a.pairs = make([]uint16, maxFeatures), make([][]pair, maxFeatures)
	slots := uint16(0)
	for _, p := range c.pairs {
		if a.slotOf[p.from] == 0 {
			if slots++; slots > maxSlots {
				return fmt.Errorf("reply: more than %d beginnings of pairs", maxSlots)
			}
			a.slotOf[p.from] = slots
		}
		a.pairs[p.to] = append(a.pairs[p.to], pair{a.slotOf[p.from] - 1, p.gap, p.whole})
	}
	return nil
}

// nearFeature gives lists of phrases that must meet in one sentence a number of their own.
func (c *compiler) nearFeature(lists [][]string) (uint16, error) {
	n := near{}
	for _, list := range lists {
		feature, err := c.feature(list)
		if err != nil {
			return 0, err
		}
		n.parts = append(n.parts, feature)
	}
	for _, known := range c.nears {
		if slices.Equal(known.parts, n.parts) {
			return known.whole, nil
		}
	}
	n.whole = uint16(maxFeatures - 1 - len(c.nears)) //nolint:gosec // checked below
	if len(c.features)+len(c.nears) >= maxFeatures {
		return 0, fmt.Errorf("more than %d lists of phrases", maxFeatures)
	}
	c.nears = append(c.nears, n)
	return n.whole, nil
}

// mostExpansions bounds what one phrase stands for.
const mostExpansions = 4000

// expand replaces {name} by each entry of words.name; one of them may be empty.
func (c *compiler) expand(phrase string) ([]string, error) {
	before, rest, found := strings.Cut(phrase, "{")
	if !found {
		return []string{normal(phrase)}, nil
	}
	name, after, found := strings.Cut(rest, "}")
	list, known := c.words[name]
	if !found || !known {
		return nil, fmt.Errorf("phrase %q: no [words] list %q", phrase, name)
	}
	var all []string
	for _, w := range list {
		more, err := c.expand(before + w + after)
		if err != nil {
			return nil, err
		}
		if all = append(all, more...); len(all) > mostExpansions {
			return nil, fmt.Errorf("phrase %q stands for more than %d", phrase, mostExpansions)
		}
	}
	return all, nil
}

// normal is a phrase in the scanner's words, so that it may be written as it is read.
func normal(phrase string) string {
	if strings.HasPrefix(phrase, "url:") || strings.HasPrefix(phrase, "@") {
		return phrase
	}
	f := finder{a: &automaton{}, notes: &notes{}}
	s := scanner{out: &f}
	for word := range strings.FieldsSeq(phrase) {
		stem, isStem := strings.CutSuffix(word, "*")
		s.split(stem)
		if isStem {
			f.notes.words.WriteByte('*')
		}
	}
	return strings.TrimSpace(f.notes.words.String())
}

func parsePattern(s string) (codePattern, error) {
	if s == "none" {
		return codePattern{none: true}, nil
	}
	var p codePattern
	parts := strings.Split(s, ".")
	if len(parts) != len(p.parts) {
		return p, fmt.Errorf("enhanced code %q: write 5.1.1, x.2.2, 5.7.x or 5.7.606-649", s)
	}
	for i, part := range parts {
		if part == "x" {
			p.parts[i] = codeRange{0, 999}
			continue
		}
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		r, err := parseRange(from, to)
		if err != nil {
			return p, fmt.Errorf("enhanced code %q: %w", s, err)
		}
		p.parts[i] = r
	}
	return p, nil
}

func parseRange(from, to string) (codeRange, error) {
	a, err := strconv.Atoi(from)
	if err != nil {
		return codeRange{}, err
	}
	b, err := strconv.Atoi(to)
	if err != nil {
		return codeRange{}, err
	}
	return codeRange{a, b}, nil
}
