package esmtp

import (
	"net/netip"
	"strings"
)

const (
	maxLabel   = 63 // RFC 1035 section 2.3.4
	ipv6Prefix = "IPv6:"
	longDomain = "the domain is longer than 253 octets"
)

// parseDomain parses a Domain or an address-literal. written is s without a trailing dot, ascii the
// form that identifies it.
func parseDomain(s string) (written, ascii string, fault *addressFault) {
	// Before IDNA sees it: Punycode takes the square of the length.
	if len(s) > MaxPath {
		return "", "", &addressFault{detail: longDomain}
	}
	if strings.HasPrefix(s, "[") {
		ascii, fault = parseLiteral(s)
		return s, ascii, fault
	}
	s = strings.TrimSuffix(s, ".")
	if ascii, fault = asciiName(s); fault != nil {
		return "", "", fault
	}
	return s, ascii, nil
}

// parseLiteral returns the normal form of an address literal. A General-address-literal has no
// registered tag but IPv6 (RFC 5321 section 4.1.3) and is refused; so is a zone.
func parseLiteral(s string) (string, *addressFault) {
	bad := &addressFault{detail: "bad address literal: write [192.0.2.1] or [IPv6:2001:db8::1]"}
	if !strings.HasSuffix(s, "]") {
		return "", bad
	}
	inner := s[1 : len(s)-1]
	if len(inner) > len(ipv6Prefix) && strings.EqualFold(inner[:len(ipv6Prefix)], ipv6Prefix) {
		ip, err := netip.ParseAddr(inner[len(ipv6Prefix):])
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", bad
		}
		return "[" + ipv6Prefix + ip.String() + "]", nil
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || !ip.Is4() {
		return "", bad
	}
	return "[" + ip.String() + "]", nil
}

// asciiName returns a host name in lower case with A-labels. A name in ASCII is never looked at by
// IDNA: hyphens in the third and fourth place and A-labels that decode to nothing do resolve.
func asciiName(s string) (string, *addressFault) {
	if !isASCII(s) {
		a, fault := toASCII(s)
		if fault != nil {
			return "", fault
		}
		s = a
	}
	s = strings.ToLower(s)
	return s, checkName(s)
}

// checkName refuses what cannot be the name of a mail domain. It is RFC 5321's Domain with two
// deviations: underscores occur in names that receive mail, and a last label of digits only is the
// mark of an IP address without its brackets (RFC 3696 section 2: no TLD is all-numeric).
func checkName(s string) *addressFault {
	if s == "" {
		return &addressFault{detail: "the domain is empty"}
	}
	if len(s) > MaxDomain {
		return &addressFault{detail: longDomain}
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if fault := checkLabel(label); fault != nil {
			return fault
		}
		last = label
	}
	for i := range len(last) {
		if last[i] < '0' || last[i] > '9' {
			return nil
		}
	}
	return &addressFault{detail: "the domain ends with a number: write an IP address in brackets"}
}

func checkLabel(label string) *addressFault {
	if label == "" || len(label) > maxLabel {
		return &addressFault{detail: "a label of the domain is empty or longer than 63 octets"}
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return &addressFault{detail: "a label of the domain begins or ends with a hyphen"}
	}
	for i := range len(label) {
		if c := label[i]; !isAlnum(c) && c != '-' && c != '_' {
			return &addressFault{detail: "the domain has a character that no host name has"}
		}
	}
	return nil
}
