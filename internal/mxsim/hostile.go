package mxsim

import (
	"strings"
	"time"
)

// What follows are hosts that mean harm or are broken beyond repair. None of them may cost a
// client more than its time and size limits, and none tells anything about a mailbox.

// EndlessReply sends a multi-line reply that never ends, as fast as the client reads.
func EndlessReply(stage Stage) Behaviour {
	return Act(stage, Answer{Raw: "250-there is always more to say\r\n", Endless: true})
}

// EndlessBanner is EndlessReply of the greeting (220).
func EndlessBanner() Behaviour {
	return Act(Connect, Answer{Raw: "220-there is always more to say\r\n", Endless: true})
}

// EndlessLine sends one line without an end.
func EndlessLine(stage Stage) Behaviour {
	return Act(stage, Answer{Raw: "250 " + strings.Repeat("x", 4096), Endless: true})
}

// LongLine sends a proper reply whose text has so many octets.
func LongLine(stage Stage, code string, octets int) Behaviour {
	return Act(stage, Answer{Raw: code + " " + strings.Repeat("x", octets) + "\r\n"})
}

// ManyLines sends a proper reply of so many lines.
func ManyLines(stage Stage, code string, lines int) Behaviour {
	return Act(stage, Answer{
		Raw: strings.Repeat(code+"-line\r\n", max(lines-1, 0)) + code + " last\r\n",
	})
}

// Drip sends a reply octet by octet, with a pause before each.
func Drip(stage Stage, text string, each time.Duration) Behaviour {
	return Act(stage, Answer{Text: text, Drip: each})
}

// Silence says nothing from this stage on and keeps the connection open.
func Silence(stage Stage) Behaviour { return Act(stage, Answer{Hang: true}) }

// Cut sends the beginning of a reply, without its line end, and closes.
func Cut(stage Stage, octets string) Behaviour {
	return Act(stage, Answer{Raw: octets, Close: true})
}

// Drop closes without a reply.
func Drop(stage Stage) Behaviour { return Act(stage, Answer{Close: true}) }

// Garbage sends octets that are no reply.
func Garbage(stage Stage) Behaviour {
	return Act(stage, Answer{
		Raw: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
	})
}

// MixedCodes sends a multi-line reply that changes its mind.
func MixedCodes(stage Stage) Behaviour {
	return Act(stage, Answer{Raw: "250-2.1.5 Ok\r\n550 5.1.1 no such user\r\n"})
}

// BadCode sends a reply with a code that SMTP does not have ("999", "199", "250x", ...).
func BadCode(stage Stage, code string) Behaviour {
	return Act(stage, Answer{Raw: code + " 5.1.1 no such user\r\n"})
}

// BareLF ends its reply lines with LF only.
func BareLF(stage Stage) Behaviour {
	return Act(stage, Answer{Raw: "550-5.1.1 no such user\n550 5.1.1 really\n"})
}

// ControlOctets puts escape sequences, NUL, bare CR and 8-bit octets into the text of a refusal:
// what must never reach a terminal, a log or a client as it is.
func ControlOctets(stage Stage) Behaviour {
	return Act(stage, Answer{
		Raw: "550 5.1.1 \x1b[2J\x1b]0;owned\x07no\x00such\ruser \xff\xfe\xc3\xa4\r\n",
	})
}

// Unsolicited sends a reply and, in the same segment, another one that nobody asked for.
func Unsolicited(stage Stage, text, extra string) Behaviour {
	return Act(stage, Answer{Raw: text + "\r\n" + extra + "\r\n"})
}

// CutBody acts when so many octets of a message have come: it closes, or sends text and closes.
func CutBody(after int64, text string) Behaviour {
	return Act(Body, Answer{Text: text, Close: true, After: after})
}

// StallBody stops reading when so many octets of a message have come.
func StallBody(after int64) Behaviour {
	return Act(Body, Answer{Delay: 24 * time.Hour, Close: true, After: after})
}
