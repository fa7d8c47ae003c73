package feedback

import (
	"bytes"
	"strconv"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// Counts tell what became of the lines that were read.
type Counts struct {
	Lines      uint64 // all, whoever wrote them
	Deliveries uint64 // delivery lines; the five below are what became of them
	Observed   uint64
	Unsent     uint64 // relay=none
	Internal   uint64 // relay=local and the like, or an internal address
	Excluded   uint64 // Config.Relays
	Unreadable uint64 // not well-formed, or not to be believed; Postfix's own address probes
}

// Parser turns the lines of a log into observations. It is for one goroutine.
type Parser struct {
	labels  labels
	routes  routes
	senders senders
	counts  Counts
	source  string
	now     func() time.Time // to find the year of a time without one
}

// NewParser uses Path (as the Source of observations), Labels, Relays, Networks, Internal and
// Unsent of the configuration.
func NewParser(c Config) (*Parser, error) {
	routes, err := newRoutes(c)
	if err != nil {
		return nil, err
	}
	labels, err := newLabels(c.Labels)
	if err != nil {
		return nil, err
	}
	return &Parser{
		labels: labels, routes: routes, senders: newSenders(maxSenders), source: c.Path, now: time.Now,
	}, nil
}

// Counts returns what became of the lines so far.
func (p *Parser) Counts() Counts { return p.counts }

// Line reads one line of a log file, without its line end. ok is false for all lines that are no
// observation, whatever is in them.
func (p *Parser) Line(line []byte) (o Observation, ok bool) {
	p.counts.Lines++
	h, ok := cutHeader(line)
	if !ok {
		return Observation{}, false
	}
	kind := p.labels.kind(h.label)
	if kind == otherLabel {
		return Observation{}, false
	}
	if o, ok = p.message(kind, h.message); ok {
		o.At = h.time(p.now())
	}
	return o, ok
}

// entry reads one message of the journal.
func (p *Parser) entry(label, message []byte, at time.Time) (o Observation, ok bool) {
	p.counts.Lines++
	kind := p.labels.kind(label)
	if kind == otherLabel {
		return Observation{}, false
	}
	if o, ok = p.message(kind, message); ok {
		o.At = at
	}
	return o, ok
}

var (
	keyTo         = []byte("to=<")
	keyFrom       = []byte("from=<")
	keyRecipients = []byte("nrcpt=")
	removed       = []byte("removed")
	separator     = []byte(", ")
	looksLike1    = []byte(">, relay=")
	looksLike2    = []byte(", status=")
)

// message reads what a delivery agent or the queue manager said.
func (p *Parser) message(kind labelKind, message []byte) (Observation, bool) {
	id, rest, ok := cutQueueID(message)
	switch {
	case !ok:
		return Observation{}, false
	case kind == queueManager:
		if from, ok := bytes.CutPrefix(rest, keyFrom); ok {
			p.sender(id, from)
			return Observation{}, false
		}
		if bytes.Equal(rest, removed) {
			p.senders.remove(id)
			return Observation{}, false
		}
	}
	to, ok := bytes.CutPrefix(rest, keyTo)
	if !ok {
		return Observation{}, false
	}
	p.counts.Deliveries++
	o, ok := p.delivery(to)
	if !ok {
		return Observation{}, false
	}
	p.counts.Observed++
	o.QueueID, o.Source = string(id), p.source
	if s, ok := p.senders.get(id); ok {
		o.Sender, o.HasSender, o.Recipients = s.address, s.known, s.recipients
	}
	return o, true
}

// sender remembers from a line "from=<…>, size=…, nrcpt=N (queue active)".
func (p *Parser) sender(id, from []byte) {
	address, rest, ok := cutAddress(from)
	if !ok {
		return
	}
	s := sender{known: len(address) == 0}
	if !s.known {
		s.address, s.known = parseAddress(address)
	}
	_, digits, ok := bytes.Cut(rest, keyRecipients)
	if !ok {
		return // "status=expired, returned to sender"
	}
	digits, _, _ = bytes.Cut(digits, []byte(" "))
	if n, err := strconv.Atoi(string(digits)); err == nil && n > 0 {
		s.recipients = n
	}
	p.senders.put(id, s)
}

// delivery reads what follows "to=<".
func (p *Parser) delivery(rest []byte) (o Observation, ok bool) {
	f, ok := cutFields(rest)
	if !ok {
		p.counts.Unreadable++
		return o, false
	}
	if o.Event, ok = eventOf(f.status); !ok {
		p.counts.Unreadable++
		return o, false
	}
	// Most lines that are left out are so by their relay: look at it before the rest.
	r := p.routes.of(f.relay)
	switch r.kind {
	case unsentRoute:
		p.counts.Unsent++
	case internalRoute:
		p.counts.Internal++
	case excludedRoute:
		p.counts.Excluded++
	case serverRoute:
	}
	if !r.keep {
		return o, false
	}
	if o.Rcpt, ok = parseAddress(f.to); !ok || o.Rcpt.Domain() == "" {
		p.counts.Unreadable++
		return o, false
	}
	if f.orig != nil {
		o.Orig, _ = parseAddress(f.orig) // "root" has no domain: it is nobody's recipient
	}
	if bytes.Contains(f.text, looksLike1) && bytes.Contains(f.text, looksLike2) {
		p.counts.Unreadable++
		return o, false
	}
	o.MX, o.Addr = r.name, r.addr
	o.DSN, _ = esmtp.ParseEnhancedCode(string(f.dsn))
	o.Text = string(f.text)
	o.Reply, o.Stage = readText(o.Event, o.Text)
	if r.kind == unsentRoute && o.Stage != reply.StageConnect {
		// Whatever a server is quoted with was said to somebody else.
		o.Reply, o.Stage = esmtp.Reply{}, reply.StageUnknown
	}
	return o, true
}

func eventOf(status []byte) (Event, bool) {
	switch string(status) {
	case "sent":
		return Delivered, true
	case "deferred", "SOFTBOUNCE": // soft_bounce=yes: refused, but tried again
		return Deferred, true
	case "bounced":
		return Bounced, true
	}
	return "", false // deliverable, undeliverable: an address probe
}

// fields of a delivery line, as they stand in it.
type fields struct{ to, orig, relay, dsn, status, text []byte }

// cutFields reads "rcpt>, orig_to=<…>, relay=…, …, status=… (text)". Fields behind
// the relay that it does not know are passed over; status is the last.
func cutFields(rest []byte) (f fields, ok bool) {
	if f.to, rest, ok = cutAddress(rest); !ok {
		return f, false
	}
	for {
		if rest, ok = bytes.CutPrefix(rest, separator); !ok {
			return f, false
		}
		eq := bytes.IndexByte(rest, '=')
		if eq <= 0 {
			return f, false
		}
		key, value := rest[:eq], rest[eq+1:]
		if string(key) == "status" {
			return f.cutStatus(value)
		}
		if f.relay == nil && string(key) != "orig_to" && string(key) != "relay" {
			return f, false // Postfix has nothing else there
		}
		if string(key) == "orig_to" {
			inner, isAddress := bytes.CutPrefix(value, []byte("<"))
			if !isAddress {
				return f, false
			}
			if f.orig, rest, ok = cutAddress(inner); !ok {
				return f, false
			}
			continue
		}
		end := bytes.Index(value, separator)
		if end < 0 {
			return f, false
		}
		value, rest = value[:end], value[end:]
		switch string(key) {
		case "relay":
			if f.relay != nil { // a second one: an address has forged the first
				return f, false
			}
			f.relay = value
		case "dsn":
			f.dsn = value
		}
	}
}

// cutStatus reads "bounced (text)", or as much of it as was logged.
func (f fields) cutStatus(value []byte) (fields, bool) {
	blank := bytes.IndexByte(value, ' ')
	if blank < 0 || f.relay == nil {
		return f, false
	}
	f.status = value[:blank]
	text, ok := bytes.CutPrefix(value[blank+1:], []byte("("))
	if !ok {
		return f, false
	}
	if n := len(text); n > 0 && text[n-1] == ')' {
		text = text[:n-1]
	}
	f.text = text
	return f, true
}

// cutQueueID takes "QUEUEID: " off: hexadecimal digits, or with enable_long_queue_ids letters and
// digits.
func cutQueueID(message []byte) (id, rest []byte, ok bool) {
	const maxQueueID = 40
	for i, c := range message {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
			if i == maxQueueID {
				return nil, nil, false
			}
		case c == ':' && i > 0 && i+1 < len(message) && message[i+1] == ' ':
			return message[:i], message[i+2:], true
		default:
			return nil, nil, false
		}
	}
	return nil, nil, false
}
