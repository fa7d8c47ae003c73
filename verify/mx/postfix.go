package mx

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// RunFunc runs a program and returns its standard output.
type RunFunc func(ctx context.Context, name string, args ...string) ([]byte, error)

// PostfixDomains lists the domains that the Postfix on this host delivers or routes itself, as
// entries for internal_domains: mydestination, virtual_mailbox_domains, virtual_alias_domains,
// relay_domains, and the keys of transport_maps that lead somewhere else than to the domain's MX.
//
// It asks postconf for the settings and `postmap -s` for the content of lookup tables. What cannot
// be listed (regular expressions, SQL, LDAP, and so on) gives an entry that begins with "# " and
// says what to do by hand. The order is that of the settings, without doubles.
//
// The error tells that postconf could not be asked.
func PostfixDomains(ctx context.Context, run RunFunc) ([]string, error) {
	p := postfix{run: run, seen: make(map[string]bool), tables: make(map[string]table)}
	parents, err := p.setting(ctx, "parent_domain_matches_subdomains")
	if err != nil {
		return nil, err
	}
	for _, setting := range []string{
		"mydestination", "virtual_mailbox_domains", "virtual_alias_domains", "relay_domains",
	} {
		items, err := p.setting(ctx, setting)
		if err != nil {
			return nil, err
		}
		p.name, p.subdomains = setting, slices.Contains(parents, setting)
		for _, item := range items {
			p.list(ctx, item)
		}
	}
	items, err := p.setting(ctx, "transport_maps")
	if err != nil {
		return nil, err
	}
	p.name, p.subdomains = "transport_maps", slices.Contains(parents, "transport_maps")
	for _, item := range items {
		p.routes(ctx, item)
	}
	return p.out, nil
}

// postfix collects entries; name is the setting that is being read.
type postfix struct {
	run    RunFunc
	tables map[string]table
	seen   map[string]bool
	out    []string

	name string
	// subdomains: example.com stands for its subdomains too, by
	// parent_domain_matches_subdomains of postconf(5).
	subdomains bool
}

// setting returns the items of a setting, with $name expanded.
func (p *postfix) setting(ctx context.Context, name string) ([]string, error) {
	out, err := p.run(ctx, "postconf", "-xh", name)
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("postconf is not installed or not in PATH: run this on the host " +
				"of the relay, or add /usr/sbin to PATH")
		}
		return nil, fmt.Errorf("postconf -xh %s: %w; run it by hand to see why", name, err)
	}
	return PostfixItems(string(out)), nil
}

// PostfixItems splits a list of Postfix at blanks and commas, but not inside braces, as Postfix does for tables that
// are written out: inline:{ a=b, c=d }.
func PostfixItems(s string) []string {
	depth := 0
	return strings.FieldsFunc(s, func(r rune) bool {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
		case ' ', '\t', '\n', '\r', ',':
			return depth <= 0
		}
		return false
	})
}

// list takes one item of a list of domains: a domain, !pattern, /file/name or type:table.
func (p *postfix) list(ctx context.Context, item string) {
	switch {
	case strings.HasPrefix(item, "!"):
		p.comment(item, "an exclusion: take those domains out of the list by hand")
	case strings.HasPrefix(item, "/"):
		p.file(item)
	case strings.Contains(item, ":") && !strings.HasPrefix(item, "["):
		rows, err := p.table(ctx, item)
		if err != nil {
			p.comment(item, err.Error())
			return
		}
		for _, row := range rows {
			// Tables of addresses serve as lists of domains (virtual_alias_domains is
			// $virtual_alias_maps by default): a key that is a whole domain is one, all others
			// are addresses and aliases.
			if strings.Contains(row.key, ".") && !strings.Contains(row.key, "@") {
				p.domain(row.key)
			}
		}
	default:
		p.domain(item)
	}
}

// file refers to a file of domains if it can be read as one.
func (p *postfix) file(path string) {
	if _, err := NewDomains([]string{"file:" + path}); err != nil {
		p.comment(path, "list it by hand: "+err.Error())
		return
	}
	p.add("file:" + path)
	if p.subdomains {
		p.comment(path, "these domains stand for their subdomains too: add .domain for each")
	}
}

// domain takes a domain, or what should be one.
func (p *postfix) domain(name string) {
	if err := (entries{}).add(name); err != nil {
		p.comment(name, "not a domain")
		return
	}
	p.add(name)
	if p.subdomains && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "[") {
		p.add("." + name)
	}
}

// routes takes one table of transport_maps.
func (p *postfix) routes(ctx context.Context, item string) {
	rows, err := p.table(ctx, item)
	if err != nil {
		p.comment(item, err.Error())
		return
	}
	for _, row := range rows {
		switch {
		case strings.Contains(row.key, "@"): // one address; its domain is not routed by it
		case row.key == "*":
			p.comment(item, "* "+row.value+": all other mail takes this route; "+
				"if the hosts there decide about recipients, set verify.mode = \"passive\"")
		case leavesMX(row.key, row.value):
			p.domain(row.key)
		case transportOf(row.value) != "" && transportOf(row.value) != "smtp" &&
			transportOf(row.value) != "relay":
			p.comment(row.key, row.value+": without a next hop; if this transport does not "+
				"deliver to the domain's MX, list the domain by hand")
		}
	}
}

// leavesMX reports whether a route (transport:nexthop, see transport(5)) sends the mail of a
// domain elsewhere than to its MX. A transport of one's own without a next hop is most often a
// copy of smtp with other limits.
func leavesMX(domain, route string) bool {
	switch transportOf(route) {
	case "local", "virtual", "lmtp", "error", "retry", "discard", "dovecot", "maildrop", "cyrus",
		"uucp":
		return true
	}
	_, nexthop, _ := strings.Cut(route, ":")
	return nexthop != "" && !strings.EqualFold(nexthop, domain)
}

func transportOf(route string) string {
	transport, _, _ := strings.Cut(route, ":")
	return transport
}

func (p *postfix) comment(item, text string) {
	line := "# " + p.name + ": " + item + ": " + text
	p.add(string(esmtp.AppendEscaped(nil, strings.Join(strings.Fields(line), " "), true)))
}

func (p *postfix) add(entry string) {
	if !p.seen[entry] {
		p.seen[entry] = true
		p.out = append(p.out, entry)
	}
}
