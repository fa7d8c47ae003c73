package message

import (
	"net/url"
	"strings"
)

// Limits of a List-Unsubscribe field that is parsed.
const (
	maxUnsubscribe = 8 << 10 // octets
	maxURIs        = 20
)

// oneClickPost is the value of List-Unsubscribe-Post (RFC 8058 section 3.1).
const oneClickPost = "List-Unsubscribe=One-Click"

// parseURIs parses the value of a List-Unsubscribe field: URIs in angle brackets, separated by
// commas, with comments (RFC 2369 section 2). Blanks within a URI, which folding leaves there, are
// left out. fault is "" or says what is wrong.
func parseURIs(value string) (uris []string, fault string) {
	if len(value) > maxUnsubscribe {
		return nil, "it is longer than 8192 octets"
	}
	p := addressParser{rest: value}
	comma := true // a URI may come
	for {
		if !p.skip() {
			return nil, p.fault
		}
		switch {
		case p.rest == "":
			if len(uris) == 0 {
				return nil, "it has no URI in angle brackets"
			}
			return uris, ""
		case p.take(','):
			comma = true
		case comma && p.take('<'):
			inside, rest, closed := strings.Cut(p.rest, ">")
			if !closed {
				return nil, "an angle bracket is not closed"
			}
			if len(uris) == maxURIs {
				return nil, "it has more than 20 URIs"
			}
			uris = append(uris, strings.NewReplacer(" ", "", "\t", "").Replace(inside))
			p.rest, comma = rest, false
		default:
			return nil, "it has something outside of angle brackets"
		}
	}
}

// oneClickURI checks that URIs are what RFC 8058 section 3.1 demands: exactly one of https, besides
// which there may be others that are not of http. fault is "" or says what is wrong.
func oneClickURI(uris []string) (fault string) {
	https := 0
	for _, uri := range uris {
		u, err := url.Parse(uri)
		switch {
		case err != nil:
			return "it has something that is no URI"
		case u.Scheme == "http":
			return "it has a URI of http, without TLS"
		case u.Scheme == "https" && u.Hostname() == "":
			return "its https URI has no host"
		case u.Scheme == "https":
			https++
		}
	}
	switch https {
	case 0:
		return "it has no https URI"
	case 1:
		return ""
	default:
		return "it has more than one https URI"
	}
}
