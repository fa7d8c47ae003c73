package provider

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

//go:embed profiles/*.toml
var embedded embed.FS

// maxDocument is the longest document that is read, in octets.
const maxDocument = 1 << 20

// Error is one fault of a document of profiles.
type Error struct {
	Profile string // "" where the document as a whole is meant
	Key     string // "limits.connections"; "" where the profile as a whole is meant
	Line    int    // of what is not TOML; else 0
	Problem string // what is wrong
	Fix     string // what to write instead
}

// Error is "profile google: limits.connections: -1 is not allowed; write a whole number ...".
func (e *Error) Error() string {
	where := "provider profiles"
	if e.Profile != "" {
		where = "provider profile " + e.Profile
	}
	if e.Line > 0 {
		where += ", line " + strconv.Itoa(e.Line)
	}
	if e.Key != "" {
		where += ": " + e.Key
	}
	if e.Fix == "" {
		return where + ": " + e.Problem
	}
	return where + ": " + e.Problem + "; " + e.Fix
}

// document is profiles by name, their values by key, as they were written.
type document map[string]map[string]any

// Load returns the built-in profiles with the administrator's documents laid over them, in order.
// The error joins all faults, each an [*Error].
func Load(overrides ...[]byte) (*Table, error) {
	l, err := builtin()
	if err != nil {
		return nil, err
	}
	return l.load(overrides...)
}

// builtin reads the profiles that come with the program.
func builtin() (*loader, error) {
	l := &loader{merged: document{}, origin: map[string]int{}}
	files, err := fs.Glob(embedded, "profiles/*.toml")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		data, err := embedded.ReadFile(file)
		if err != nil {
			return nil, err
		}
		l.merge(data, 0)
	}
	return l, nil
}

func (l *loader) load(overrides ...[]byte) (*Table, error) {
	for i, data := range overrides {
		l.merge(data, 1+i)
	}
	t := l.build()
	if len(l.faults) == 0 {
		return t, nil
	}
	slices.SortStableFunc(l.faults, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.Profile, b.Profile), strings.Compare(a.Key, b.Key))
	})
	joined := make([]error, len(l.faults))
	for i, f := range l.faults {
		joined[i] = f
	}
	return nil, errors.Join(joined...)
}

type loader struct {
	merged document
	origin map[string]int // by "profile key": the document that wrote it; 0 is a built-in one
	faults []*Error
}

func (l *loader) fault(profile, key, problem, fix string) {
	l.faults = append(l.faults, &Error{
		Profile: printable(profile), Key: printable(key), Problem: problem, Fix: fix,
	})
}

// merge lays one document over what is there.
func (l *loader) merge(data []byte, number int) {
	if len(data) > maxDocument {
		l.fault("", "", fmt.Sprintf("%d octets are too many", len(data)), "write at most 1 MiB")
		return
	}
	var tables map[string]any
	if err := toml.Unmarshal(data, &tables); err != nil {
		problem, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "toml: "), "\n")
		f := &Error{Problem: "not valid TOML: " + printable(problem)}
		if place, ok := errors.AsType[*toml.DecodeError](err); ok {
			f.Line, _ = place.Position()
		}
		l.faults = append(l.faults, f)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		table, ok := tables[name].(map[string]any)
		switch {
		case !ok:
			l.fault("", name, "a key outside a profile", "write it below a line like [google]")
			continue
		case !validName(name):
			l.fault(name, "", "not a name for a profile",
				"use 1 to 32 of a-z, 0-9 and _, beginning with a letter and not ending with _")
			continue
		}
		if l.merged[name] == nil {
			if len(l.merged) >= MaxProfiles {
				l.fault(name, "", "too many profiles", fmt.Sprintf("there can be %d", MaxProfiles))
				return
			}
			l.merged[name] = map[string]any{}
		}
		l.mergeProfile(name, table, number)
	}
}

func (l *loader) mergeProfile(name string, table map[string]any, number int) {
	known := keys()
	for key, value := range flatten(table) {
		at := slices.IndexFunc(known, func(k Key) bool { return k.Name == key })
		switch {
		case at < 0:
			l.fault(name, key, "unknown key", unknownFix(key, known))
			continue
		case !known[at].set(new(Profile), value):
			l.fault(name, key, show(value)+" is not allowed", "write "+known[at].Allowed)
			continue
		}
		l.merged[name][key] = value
		l.origin[name+" "+key] = number
	}
}

// flatten gives the keys of limits and fold their dotted names.
func flatten(table map[string]any) map[string]any {
	flat := make(map[string]any, len(table))
	for key, value := range table {
		if inner, ok := value.(map[string]any); ok && (key == "limits" || key == "fold") {
			for k, v := range inner {
				flat[key+"."+k] = v
			}
			continue
		}
		flat[key] = value
	}
	return flat
}

// build makes the table of what was merged.
func (l *loader) build() *Table {
	t := &Table{
		names: slices.Sorted(maps.Keys(l.merged)), profiles: map[string]*Profile{},
		exact: map[string]*Profile{}, globs: map[string][]glob{}, suffix: map[string]*Profile{},
		domains: map[string]*Profile{},
	}
	for _, name := range t.names {
		t.profiles[name] = l.profile(name)
	}
	t.generic = t.profiles[Generic]
	l.index(t)
	for _, name := range t.names {
		for _, text := range t.profiles[name].Banner {
			t.banners = append(t.banners, banner{text, t.profiles[name]})
		}
	}
	slices.SortStableFunc(t.banners, func(a, b banner) int {
		if a.profile.Software != b.profile.Software {
			if a.profile.Software {
				return 1
			}
			return -1
		}
		return cmp.Or(len(b.text)-len(a.text), strings.Compare(a.text, b.text))
	})
	return t
}

// profile makes one profile, and checks what holds between its keys.
func (l *loader) profile(name string) *Profile {
	p := &Profile{Name: name, Title: name, CatchAll: CatchAllTest}
	for _, k := range keys() {
		value, ok := l.merged[name][k.Name]
		if !ok && k.inherit {
			value, ok = l.merged[Generic][k.Name]
		}
		if ok {
			k.set(p, value)
		}
	}
	switch {
	case name == Generic && len(p.MX)+len(p.Domains)+len(p.Banner) > 0:
		l.fault(name, "mx", "the generic profile is for those who have none",
			"remove mx, domains and banner, or give the profile another name")
	case name == Generic:
	case p.Software && len(p.MX)+len(p.Domains) > 0:
		l.fault(name, "software", "a program has no MX hosts and domains of its own",
			"remove mx and domains, or write software = false")
	case len(p.MX)+len(p.Domains)+len(p.Banner) == 0:
		l.fault(name, "mx", "nothing tells who this is",
			`write mx, domains or banner; mx = ["*.mx.example.com"]`)
	}
	return p
}

// index fills the maps that Find uses. What an administrator wrote takes a pattern from a built-in
// profile; two profiles of the same origin must not have one in common.
func (l *loader) index(t *Table) {
	owner := map[string]string{}
	claim := func(p *Profile, key, pattern string) bool {
		other, taken := owner[key+" "+pattern]
		if taken {
			mine, theirs := l.origin[p.Name+" "+key] > 0, l.origin[other+" "+key] > 0
			if mine == theirs {
				l.fault(p.Name, key, fmt.Sprintf("%q belongs to profile %s too", pattern, other),
					"remove it from one of them")
				return false
			}
			if theirs {
				return false
			}
		}
		owner[key+" "+pattern] = p.Name
		return true
	}
	for _, name := range t.names {
		p := t.profiles[name]
		for _, pattern := range p.MX {
			if claim(p, "mx", pattern) {
				t.add(pattern, p)
			}
		}
		for _, domain := range p.Domains {
			if claim(p, "domains", domain) {
				t.domains[domain] = p
			}
		}
	}
	for _, list := range t.globs {
		slices.SortStableFunc(list, func(a, b glob) int {
			return cmp.Or(len(b.pattern)-len(a.pattern), strings.Compare(a.pattern, b.pattern))
		})
	}
}

func (t *Table) add(pattern string, p *Profile) {
	rest, any := strings.CutPrefix(pattern, "*.")
	switch {
	case any && !strings.Contains(rest, "*"):
		t.suffix[rest] = p
	case !strings.Contains(pattern, "*"):
		t.exact[pattern] = p
	default:
		tail, _ := lastTwo(pattern)
		same := func(g glob) bool { return g.pattern == pattern }
		t.globs[tail] = append(slices.DeleteFunc(t.globs[tail], same), glob{pattern, p})
	}
}

// unknownFix names the key that was meant, or all there are.
func unknownFix(key string, known []Key) string {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.Name
		if strings.HasSuffix(k.Name, "."+key) {
			return fmt.Sprintf("did you mean %s?", k.Name)
		}
	}
	return "the keys are " + strings.Join(names, ", ")
}

// show returns a value for people, cut.
func show(value any) string {
	if _, nested := value.(map[string]any); nested {
		return "a table"
	}
	s := fmt.Sprint(value)
	if text, ok := value.(string); ok {
		s = strconv.Quote(text)
	}
	return printable(s)
}

// printable returns s without what could harm a terminal, cut.
func printable(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	quoted := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
