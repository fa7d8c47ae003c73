package esmtp

import (
	"bufio"
	"errors"
	"io"
)

// Limits of a reply that is read.
const (
	// MaxReplyLine is how many octets of a line are kept, its code included. A longer line is cut,
	// not refused: an over-long 250 to the final dot is a 250, and an error would make a duplicate.
	MaxReplyLine = 4096
	// MaxReplyLines is how many lines a reply may have.
	MaxReplyLines = 100
	// MaxReplyOctets is how many octets a reply may have in all, those cut off included.
	MaxReplyOctets = 64 << 10
)

// ProtocolError says that the peer does not speak SMTP, or is out of step. Nothing that it sends
// after this can be trusted; the connection must be closed.
type ProtocolError struct {
	Detail string // escaped, for people
}

// Error implements error.
func (e *ProtocolError) Error() string { return "protocol error: " + e.Detail }

// ReadReply reads one reply, of one or more lines. The caller sets the deadline of the connection,
// and that it be absolute: the limits bound memory, not time.
//
// Errors: [*ProtocolError] for what is no reply (a line that does not begin with a code from 200 to
// 599, different codes in one reply, a CR or LF that is not part of a CRLF) and for more lines or
// octets than [MaxReplyLines] and [MaxReplyOctets]; io.EOF if the peer closed before the first
// octet; io.ErrUnexpectedEOF if it closed within the reply; the network's error. A line that was cut
// short is never a reply.
func ReadReply(br *bufio.Reader) (Reply, error) {
	var r Reply
	left := MaxReplyOctets
	for {
		line, n, err := readReplyLine(br, left)
		if errors.Is(err, io.EOF) && (n > 0 || len(r.Lines) > 0) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return Reply{}, err
		}
		left -= n
		code, text, last, err := splitReplyLine(line)
		if err != nil {
			return Reply{}, err
		}
		if len(r.Lines) > 0 && code != r.Code {
			return Reply{}, &ProtocolError{Detail: "the lines of a reply have different codes"}
		}
		r.Code = code
		r.Lines = append(r.Lines, text)
		if last {
			return r, nil
		}
		if len(r.Lines) == MaxReplyLines {
			return Reply{}, &ProtocolError{Detail: "a reply of more than 100 lines"}
		}
	}
}

// readReplyLine reads one line of at most left octets. It returns the line without CRLF, cut at
// MaxReplyLine, and the number of octets read. The line is valid until the next read.
func readReplyLine(br *bufio.Reader, left int) (line []byte, n int, err error) {
	cr := false // the last octet was a CR
	for {
		part, err := br.ReadSlice('\n')
		n += len(part)
		if n > left {
			return nil, n, &ProtocolError{Detail: "a reply of more than 64 KiB"}
		}
		full := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !full {
			return nil, n, err
		}
		for _, c := range part {
			if cr != (c == '\n') {
				return nil, n, &ProtocolError{Detail: "a CR or LF alone in a reply"}
			}
			cr = c == '\r'
		}
		if !full && line == nil {
			line = part // all of it, until the next read
			break
		}
		if room := MaxReplyLine + len("\r\n") - len(line); room > 0 {
			line = append(line, part[:min(room, len(part))]...)
		}
		if !full {
			break
		}
	}
	if n <= len(line) {
		line = line[:n-len("\r\n")]
	}
	return line[:min(len(line), MaxReplyLine)], n, nil
}

// splitReplyLine splits Reply-code ( "-" / SP / end ) text.
func splitReplyLine(line []byte) (code int, text string, last bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, "", false, notAReply(line)
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, "", true, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, "", false, notAReply(line)
	}
	return code, string(line[4:]), line[3] == ' ', nil
}

func notAReply(line []byte) error {
	shown := appendEscaped([]byte(`not an SMTP reply: "`), string(line), false, 100)
	return &ProtocolError{Detail: string(append(shown, '"'))}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
