package message

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxSignatures are verified of a message.
	maxSignatures = 5
	// maxSigned is how many field names a signature may list.
	maxSigned = 200
	// maxHanded is how much of a header goes through the library.
	maxHanded = 64 << 10
	// maxWork bounds the memory of the library at the end of a message, see cost.
	maxWork = 320 << 10
)

// signature is a DKIM-Signature field (RFC 6376 section 3.5), as far as it is needed here: what it
// is worth decides the library.
type signature struct {
	at       int // its place in header.fields
	domain   string
	selector string
	signed   []string // the h= tag
	expires  time.Time
	// malformed says why it is not worth a look; "": it is.
	malformed string
	// uncovered is a field that occurs more often than it is signed; "": none.
	uncovered string
	// unsubscribe: List-Unsubscribe and List-Unsubscribe-Post are signed as often as they occur.
	unsubscribe bool
}

// keyName is where its key is in the DNS.
func (s *signature) keyName() string { return s.selector + "._domainkey." + s.domain }

// covered are the fields that a reader sees, or that his mail program acts on: what a signature
// signs of them, it has to sign as often as they occur. The software that verifies takes the lowest
// ones; what stands on top of them is not signed but shown.
var covered = []kind{
	kindFrom, kindSender, kindReplyTo, kindTo, kindCc, kindSubject, kindDate, kindMessageID,
	kindContentType, kindContentTransferEncoding, kindMIMEVersion, kindListUnsubscribe,
	kindListUnsubscribePost, kindListID,
}

// parseSignature reads the tags of a field.
func parseSignature(h *header, at int) signature {
	s := signature{at: at}
	f := &h.fields[at]
	tags := f.raw[f.colon+1:]
	for len(tags) > 0 {
		var tag []byte
		tag, tags, _ = bytes.Cut(tags, []byte(";"))
		name, value, _ := bytes.Cut(tag, []byte("="))
		switch string(bytes.TrimSpace(name)) {
		case "d":
			s.domain = squeeze(value)
		case "s":
			s.selector = squeeze(value)
		case "x":
			if seconds, err := strconv.ParseInt(squeeze(value), 10, 64); err == nil {
				s.expires = time.Unix(seconds, 0)
			}
		case "h":
			s.readSigned(value)
		}
	}
	if s.malformed == "" {
		s.cover(h)
	}
	return s
}

func (s *signature) readSigned(value []byte) {
	if bytes.Count(value, []byte(":")) >= maxSigned {
		s.malformed = "it lists more than 200 fields"
		return
	}
	s.signed = s.signed[:0]
	for name := range bytes.SplitSeq(value, []byte(":")) {
		s.signed = append(s.signed, strings.ToLower(squeeze(name)))
	}
}

// squeeze leaves all blanks out.
func squeeze(value []byte) string {
	return string(bytes.Join(bytes.Fields(value), nil))
}

// times is how often the signature signs a field.
func (s *signature) times(name string) int {
	n := 0
	for _, signed := range s.signed {
		if strings.EqualFold(signed, name) {
			n++
		}
	}
	return n
}

func (s *signature) cover(h *header) {
	for _, k := range covered {
		if n := s.times(kindNames[k]); n > 0 && n < h.count[k] {
			s.uncovered = kindNames[k]
			break
		}
	}
	s.unsubscribe = s.times(kindNames[kindListUnsubscribe]) >= max(1, h.count[kindListUnsubscribe]) &&
		s.times(kindNames[kindListUnsubscribePost]) >= max(1, h.count[kindListUnsubscribePost])
}

// choose takes the signatures that are worth verifying: those of the From domain and its relatives
// first, then from the top; at most maxSignatures, in the order of the header. fault says why none
// can be verified although there are some.
func choose(h *header, from string) (list []signature, fault string) {
	for at := range h.fields {
		if h.fields[at].kind != kindSignature {
			continue
		}
		s := parseSignature(h, at)
		if s.malformed != "" {
			fault = s.malformed
			continue
		}
		list = append(list, s)
		if len(list) > 2*maxSignatures { // so that a thousand of them cost nothing
			list = preferred(list, from)
		}
	}
	list = preferred(list, from)
	for len(list) > 0 && !affordable(h, list) {
		list = list[:len(list)-1]
		fault = "the header is too large to verify its signatures"
	}
	slices.SortFunc(list, func(a, b signature) int { return cmp.Compare(a.at, b.at) })
	if len(list) > 0 {
		fault = ""
	}
	return list, fault
}

func preferred(list []signature, from string) []signature {
	slices.SortStableFunc(list, func(a, b signature) int {
		return cmp.Or(cmp.Compare(distance(a.domain, from), distance(b.domain, from)),
			cmp.Compare(a.at, b.at))
	})
	return list[:min(len(list), maxSignatures)]
}

// distance is 0 for the same domain, 1 if one is below the other, 2 otherwise.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	switch {
	case a == b:
		return 0
	case strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a):
		return 1
	}
	return 2
}

// affordable reports whether the library can verify these signatures within bounds. At the end of
// the message it has, for each signature, three copies of one field and 32 octets for every word of
// it; several signatures also have a buffer and a goroutine each.
func affordable(h *header, list []signature) bool {
	total, field := 0, 0
	for _, f := range handed(h, list) {
		total += len(f.raw)
		field = max(field, 3*len(f.raw)+32*words(f.raw))
	}
	if len(list) > 1 {
		field += 40 << 10
	}
	return total <= maxHanded && len(list)*field <= maxWork
}

func words(raw []byte) int {
	n, blank := 0, true
	for _, c := range raw {
		now := c == ' ' || c == '\t' || c == '\r' || c == '\n'
		if blank && !now {
			n++
		}
		blank = now
	}
	return n
}

// handed are the fields of the header that the library sees: the signatures, and of each signed
// name as many as a signature lists, which it takes from below (RFC 6376 section 5.4.2). What it does
// not see it would not have looked at.
func handed(h *header, list []signature) []*field {
	left := make(map[string]int)
	for i := range list {
		own := make(map[string]int)
		for _, name := range list[i].signed {
			own[name]++
			left[name] = max(left[name], own[name])
		}
	}
	var fields []*field
	for at := len(h.fields) - 1; at >= 0; at-- {
		f := &h.fields[at]
		var room [80]byte
		name := append(room[:0], f.name()...)
		for i, c := range name {
			if c >= 'A' && c <= 'Z' {
				name[i] = c + 'a' - 'A'
			}
		}
		chosen := f.kind == kindSignature &&
			slices.ContainsFunc(list, func(s signature) bool { return s.at == at })
		// Signatures that were not chosen stay away even if another one signs them.
		if f.kind != kindSignature && left[string(name)] > 0 {
			left[string(name)]--
			chosen = true
		}
		if chosen {
			fields = append(fields, f)
		}
	}
	slices.Reverse(fields)
	return fields
}
