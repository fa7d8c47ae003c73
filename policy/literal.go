package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// closedSet is the literal check of an enumeration.
func closedSet(path string, values []string) func(any) (string, string) {
	return func(value any) (string, string) {
		text, ok := value.(string)
		if !ok {
			return "", "" // the type check says it better
		}
		if slices.Contains(values, text) {
			return "", ""
		}
		return fmt.Sprintf("%s is never %q", path, text), oneOf(text, values)
	}
}

// checkFractionLiteral catches percentages: confidence > 90 would never be true.
func checkFractionLiteral(path string) func(any) (string, string) {
	return func(value any) (string, string) {
		var number float64
		switch v := value.(type) {
		case int:
			number = float64(v)
		case float64:
			number = v
		default:
			return "", ""
		}
		if number >= 0 && number <= 1 {
			return "", ""
		}
		return fmt.Sprintf("%s is a number from 0 to 1, never compared with %v", path, number),
			"write 0.9 for 90 %"
	}
}

// checkDomainLiteral catches literals that no domain of ours equals: those are lower case A-labels.
func checkDomainLiteral(value any) (detail, hint string) {
	text, ok := value.(string)
	if !ok || text == "" || strings.HasPrefix(text, "[") {
		return "", ""
	}
	if strings.Contains(text, "@") {
		return fmt.Sprintf("a domain is never %q", text),
			"compare .address with an address, .domain with what follows the @"
	}
	if strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".") {
		return fmt.Sprintf("a domain is never %q", text),
			fmt.Sprintf("write %q, or domain endsWith %q for its subdomains",
				strings.Trim(text, "."), "."+strings.Trim(text, "."))
	}
	folded := strings.ToLower(text)
	if address, err := esmtp.ParseAddress("x@"+text, true); err == nil {
		folded = address.ASCIIDomain()
	}
	if folded != text {
		return fmt.Sprintf("domains are compared in lower case and as A-labels, never %q", text),
			fmt.Sprintf("write %q", folded)
	}
	return "", ""
}

// checkAddressLiteral catches domains within addresses that are not written as ours are.
func checkAddressLiteral(value any) (detail, hint string) {
	text, ok := value.(string)
	at := strings.LastIndexByte(text, '@')
	if !ok || at < 0 {
		return "", ""
	}
	if detail, hint = checkDomainLiteral(text[at+1:]); detail != "" {
		return fmt.Sprintf("no address is %q: %s", text, detail), hint
	}
	return "", ""
}

// checkAddrLiteral catches literals that no client.addr equals.
func checkAddrLiteral(value any) (detail, hint string) {
	text, ok := value.(string)
	if !ok || text == "" {
		return "", ""
	}
	if _, err := netip.ParsePrefix(text); err == nil {
		return fmt.Sprintf("client.addr is one address, never the network %q", text),
			fmt.Sprintf("write inNetwork(client.addr, %q)", text)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Sprintf("client.addr is an IP address, never %q", text),
			"compare client.name with a host name"
	}
	if written := addr.Unmap().WithZone("").String(); written != text {
		return fmt.Sprintf("client.addr is never written %q", text), fmt.Sprintf("write %q", written)
	}
	return "", ""
}
