package esmtp

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	// xforwardLine is the limit of an XFORWARD command with its CRLF: that of any command line
	// (RFC 5321 section 4.5.3.1.4). Postfix splits at the same place.
	xforwardLine = 512
	// maxXForward is the limit of a value in octets. Postfix has it for the xtext, and refuses all of a
	// command with a longer one: so it is for what we write, and for the decoded value that we read.
	maxXForward = 255
	xforward    = "XFORWARD"
	unavailable = "[UNAVAILABLE]"
	tempUnavail = "[TEMPUNAVAIL]"
)

// XForward is what a trusted proxy says of its client with XFORWARD, see
// https://www.postfix.org/XFORWARD_README.html. Values are decoded; "" is one that was not sent;
// "[UNAVAILABLE]" and "[TEMPUNAVAIL]" are kept literally. They come from the network: escape them.
type XForward struct {
	// Name is the client's host name, Helo what it greeted with, Ident its queue ID upstream.
	Name, Helo, Ident string
	// Addr is "192.0.2.1" or "IPv6:2001:db8::1", Port a decimal number.
	Addr, Port string
	// Proto is "SMTP" or "ESMTP" and the like, Source "LOCAL" or "REMOTE".
	Proto, Source string
}

// xforwardNames returns the attributes in the order in which Append writes them.
func xforwardNames() []string {
	return []string{"NAME", "ADDR", "PORT", "HELO", "IDENT", "PROTO", "SOURCE"}
}

// field returns where the attribute of that name, in any case, is kept, or nil.
func (x *XForward) field(name string) *string {
	switch strings.ToUpper(name) {
	case "NAME":
		return &x.Name
	case "ADDR":
		return &x.Addr
	case "PORT":
		return &x.Port
	case "PROTO":
		return &x.Proto
	case "HELO":
		return &x.Helo
	case "IDENT":
		return &x.Ident
	case "SOURCE":
		return &x.Source
	}
	return nil
}

// ClientAddr returns the client's address. ok is false if it was not sent or is unavailable.
func (x XForward) ClientAddr() (addr netip.Addr, ok bool) {
	s := x.Addr
	if len(s) > len(ipv6Prefix) && strings.EqualFold(s[:len(ipv6Prefix)], ipv6Prefix) {
		s = s[len(ipv6Prefix):]
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// Merge parses what follows "XFORWARD " and sets the attributes that are in it; repeated commands
// add up. The error is a [*SyntaxError], for bad syntax, an attribute that is not one of Postfix's,
// and a value that cannot be one: with control octets, longer than 255 octets, an address, port or
// source that is none. x is unchanged then.
func (x *XForward) Merge(arg string) error {
	next := *x
	params := splitParams(arg)
	if len(params) == 0 {
		return badParam("syntax: XFORWARD attribute=value...")
	}
	for _, p := range params {
		field := next.field(p.Keyword)
		if field == nil || !p.HasValue {
			return badParam("XFORWARD has an attribute that is unknown or without a value")
		}
		value, err := ParseXtext(p.Value)
		if err != nil || len(value) > maxXForward || hasControl(value) {
			return badParam("XFORWARD has a value that is no xtext of 255 printable characters at most")
		}
		*field = value
	}
	if !next.valid() {
		return badParam("XFORWARD has a bad address, port, protocol or source")
	}
	*x = next
	return nil
}

// valid checks the attributes that have a form of their own. Their words are few, so that a rule or
// a log line can trust them.
func (x XForward) valid() bool {
	if _, ok := x.ClientAddr(); !ok && x.Addr != "" && !isUnavailable(x.Addr) {
		return false
	}
	if x.Port != "" && !isUnavailable(x.Port) {
		if n, err := strconv.ParseUint(x.Port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	for i := range len(x.Proto) {
		if c := x.Proto[i]; !isAlnum(c) && !isUnavailable(x.Proto) {
			return false
		}
	}
	return x.Source == "" || isUnavailable(x.Source) ||
		strings.EqualFold(x.Source, "LOCAL") || strings.EqualFold(x.Source, "REMOTE")
}

func isUnavailable(s string) bool {
	return strings.EqualFold(s, unavailable) || strings.EqualFold(s, tempUnavail)
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// Append appends one or more "XFORWARD ...\r\n" lines, each of 512 octets at most, with the attributes
// that are set and that the server offered (the words behind XFORWARD in its EHLO reply, in any
// case). It appends nothing if there are none. A value whose xtext is longer than 255 octets is cut.
func (x XForward) Append(dst []byte, offered []string) []byte {
	start := len(dst) // of the open line
	for _, name := range xforwardNames() {
		value := *x.field(name)
		if value == "" || !slices.ContainsFunc(offered, func(o string) bool {
			return strings.EqualFold(o, name)
		}) {
			continue
		}
		if len(dst) == start {
			dst = append(dst, xforward...)
		}
		before := len(dst)
		dst = appendAttribute(dst, name, value)
		if before > start+len(xforward) && len(dst)-start+len("\r\n") > xforwardLine {
			dst = slices.Insert(dst, before, []byte("\r\n"+xforward)...)
			start = before + len("\r\n")
		}
	}
	if len(dst) > start {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// appendAttribute appends " NAME=xtext", cut between octets where the xtext is too long.
func appendAttribute(dst []byte, name, value string) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=')
	room := len(dst) + maxXForward
	for i := range len(value) {
		longer := AppendXtext(dst, value[i:i+1])
		if len(longer) > room {
			break
		}
		dst = longer
	}
	return dst
}
