package policyd

import (
	"bytes"
	"math"
	"strconv"
)

// Limits of a request.
const (
	maxRequest    = 64 << 10 // octets, the empty line included
	maxAttributes = 100
	// maxValue is the longest value of an attribute that counts: Postfix's line_length_limit, which no
	// command of its clients exceeds.
	maxValue = 2048
)

// attribute is one that counts.
type attribute int

const (
	attrRequest attribute = iota
	attrState
	attrProtocol
	attrClientAddress
	attrClientName
	attrClientPort
	attrHelo
	attrSender
	attrRecipient
	attrRecipientCount
	attrQueueID
	attrInstance
	attrSize
	attrLogin
	attrCertificate
	attributes // how many

	ignored attribute = -1
)

// attributeOf tells which attribute a name is.
func attributeOf(name []byte) attribute {
	switch string(name) {
	case "request":
		return attrRequest
	case "protocol_state":
		return attrState
	case "protocol_name":
		return attrProtocol
	case "client_address":
		return attrClientAddress
	case "client_name":
		return attrClientName
	case "client_port":
		return attrClientPort
	case "helo_name":
		return attrHelo
	case "sender":
		return attrSender
	case "recipient":
		return attrRecipient
	case "recipient_count":
		return attrRecipientCount
	case "queue_id":
		return attrQueueID
	case "instance":
		return attrInstance
	case "size":
		return attrSize
	case "sasl_username":
		return attrLogin
	case "ccert_subject":
		return attrCertificate
	}
	return ignored
}

// fault is what is wrong with a request, in words of ours only; "" if nothing is.
type fault string

// The faults.
const (
	faultTooBig     fault = "it is longer than 64 KiB"
	faultTooMany    fault = "it has more than 100 attributes"
	faultNUL        fault = "it has a NUL"
	faultNoEquals   fault = `a line has no "="`
	faultNoName     fault = "an attribute has no name"
	faultTooLong    fault = "the value of an attribute is longer than 2048 octets"
	faultTwice      fault = "an attribute has two values"
	faultNoRequest  fault = "it has no request attribute"
	faultOther      fault = "it is not of the type smtpd_access_policy"
	faultNoState    fault = "it has no protocol_state"
	faultNumber     fault = "an attribute that counts something is no number"
	faultNoRcpt     fault = "it has no recipient"
	faultRecipient  fault = "the recipient is no address"
	faultSenderName fault = "the sender is no address"
)

// request is one request. Its values are part of the connection's buffer, so it is gone when that is
// read into.
type request struct {
	values [attributes][]byte // nil: not sent
	rcpts  uint64
	size   uint64
}

func (r *request) value(a attribute) []byte { return r.values[a] }

// parse reads a request without its empty line.
func (r *request) parse(b []byte) fault {
	*r = request{}
	if bytes.IndexByte(b, 0) >= 0 {
		return faultNUL
	}
	for n := 0; len(b) > 0; n++ {
		if n == maxAttributes {
			return faultTooMany
		}
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		if last := len(line) - 1; last >= 0 && line[last] == '\r' {
			line = line[:last]
		}
		if f := r.set(line); f != "" {
			return f
		}
	}
	return r.check()
}

// set takes one attribute.
func (r *request) set(line []byte) fault {
	equals := bytes.IndexByte(line, '=')
	switch equals {
	case -1:
		return faultNoEquals
	case 0:
		return faultNoName
	}
	a, value := attributeOf(line[:equals]), line[equals+1:]
	switch {
	case a == ignored:
		return ""
	case len(value) > maxValue:
		return faultTooLong
	case r.values[a] != nil && !bytes.Equal(r.values[a], value):
		// Postfix leaves it open which one counts. It never sends two, so somebody else wrote one.
		return faultTwice
	}
	r.values[a] = value
	return ""
}

// check looks for what every request needs.
func (r *request) check() fault {
	var ok bool
	switch {
	case r.values[attrRequest] == nil:
		return faultNoRequest
	case string(r.values[attrRequest]) != "smtpd_access_policy":
		return faultOther
	case r.values[attrState] == nil:
		return faultNoState
	}
	if r.rcpts, ok = number(r.values[attrRecipientCount]); !ok {
		return faultNumber
	}
	if r.size, ok = number(r.values[attrSize]); !ok {
		return faultNumber
	}
	return ""
}

// number reads a decimal number; nothing is 0, and what is too big for us is the biggest.
func number(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	if len(b) == 0 {
		return 0, true
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		n = math.MaxUint64
	}
	return n, true
}

// input takes requests out of a stream of octets, whatever the pieces that it comes in.
type input struct {
	buf        []byte
	begin, end int // what is in it
	scanned    int // from begin: complete lines without an empty one
	skipping   bool
}

// The room of a buffer at first, for some requests of a Postfix, each about 700 octets; and what it
// keeps when all is taken out.
const (
	inputRoom = 4 << 10
	inputKeep = 16 << 10
)

// pending reports whether a part of a request is there.
func (in *input) pending() bool { return in.skipping || in.end > in.begin }

// next returns the next request without its empty line; ok is false if there is no complete one. It
// is good until the next call of room. tooBig says that there was one over maxRequest, whose octets
// are gone.
func (in *input) next() (b []byte, tooBig, ok bool) {
	if in.skipping && !in.skip() {
		return nil, false, false
	}
	if in.skipping {
		in.skipping = false
		return nil, true, true
	}
	b = in.buf[in.begin:in.end]
	for {
		n := bytes.IndexByte(b[in.scanned:], '\n')
		if n < 0 {
			break
		}
		line := b[in.scanned : in.scanned+n]
		if n > 1 || n == 1 && line[0] != '\r' {
			in.scanned += n + 1
			continue
		}
		b = b[:in.scanned]
		in.begin += in.scanned + n + 1
		in.scanned = 0
		if in.begin == in.end {
			in.begin, in.end = 0, 0
		}
		return b, false, true
	}
	if len(b) >= maxRequest {
		in.skipping = true
		return in.next()
	}
	return nil, false, false
}

// skip drops the rest of a request that is too big. It reports whether its end was there.
func (in *input) skip() bool {
	b := in.buf[in.begin:in.end]
	for i, c := range b {
		if c != '\n' {
			continue
		}
		switch rest := b[i+1:]; {
		case len(rest) > 0 && rest[0] == '\n':
			in.begin += i + 2
			in.scanned = 0
			return true
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			in.begin += i + 3
			in.scanned = 0
			return true
		}
	}
	in.begin = max(in.begin, in.end-2) // what the end may begin with
	return false
}

// room is where to read more into; empty if there is none, because complete requests have not been
// taken.
func (in *input) room() []byte {
	if in.begin > 0 {
		in.end = copy(in.buf, in.buf[in.begin:in.end])
		in.begin = 0
	}
	switch {
	case in.buf == nil:
		in.buf = make([]byte, inputRoom)
	case in.end == 0 && len(in.buf) > inputKeep:
		in.buf = make([]byte, inputKeep) // not the big one for a connection that has come to rest
	case in.end == len(in.buf) && in.end < maxRequest:
		bigger := make([]byte, min(4*len(in.buf), maxRequest))
		copy(bigger, in.buf)
		in.buf = bigger
	}
	return in.buf[in.end:]
}

// added tells how much of room was filled.
func (in *input) added(n int) { in.end += n }
