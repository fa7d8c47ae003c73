package feedback

import (
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// maxReplyLines bounds the lines that one reply is taken apart into, as esmtp.ReadReply does.
const maxReplyLines = 100

// readText reads what stands in parentheses after the status of an attempt: the reply of the
// server, and what it answered. The texts are those of Postfix's src/smtp (smtp_proto.c,
// smtp_trouble.c, smtp_connect.c).
func readText(event Event, text string) (esmtp.Reply, reply.Stage) {
	if event == Delivered {
		// One reply to the end of data, or in LMTP one for each recipient.
		return splitReply(text), reply.StageDot
	}
	if rest, ok := strings.CutPrefix(text, "host "); ok {
		return hostSaid(rest)
	}
	for _, prefix := range [...]string{"lost connection with ", "conversation with "} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			// Names and addresses have no blanks.
			if _, doing, ok := strings.Cut(rest, " while "); ok {
				return esmtp.Reply{}, stageOf(doing)
			}
			return esmtp.Reply{}, reply.StageUnknown
		}
	}
	switch {
	case strings.HasPrefix(text, "connect to "):
		return esmtp.Reply{}, reply.StageConnect
	case strings.HasPrefix(text, "TLS is required, but host "):
		// "… refused to start TLS: 454 4.7.0 …"
		_, said, _ := strings.Cut(text, " refused to start TLS: ")
		return splitReply(said), reply.StageStartTLS
	case strings.HasPrefix(text, "TLS is required"), strings.HasPrefix(text, "Cannot start TLS"),
		strings.HasPrefix(text, "Server certificate "):
		return esmtp.Reply{}, reply.StageStartTLS
	case strings.HasPrefix(text, "SASL "):
		// The stages know no AUTH; like EHLO it is before MAIL, and about us.
		_, said, _ := strings.Cut(text, " said: ")
		return splitReply(said), reply.StageHelo
	}
	return esmtp.Reply{}, reply.StageUnknown
}

// hostSaid reads what follows "host ".
func hostSaid(text string) (esmtp.Reply, reply.Stage) {
	peer := strings.IndexByte(text, ']')
	if peer < 0 {
		return esmtp.Reply{}, reply.StageUnknown
	}
	text = text[peer+1:]
	if said, ok := strings.CutPrefix(text, " refused to talk to me: "); ok {
		return splitReply(said), reply.StageConnect // the banner, or the reply to EHLO and HELO
	}
	said, ok := strings.CutPrefix(text, " said: ")
	if !ok {
		return esmtp.Reply{}, reply.StageUnknown
	}
	const inReply = " (in reply to "
	// The last one is Postfix's: the server may have written the words, too.
	at := strings.LastIndex(said, inReply)
	if at < 0 {
		return splitReply(said), reply.StageUnknown // the line was cut
	}
	command, whole := strings.CutSuffix(said[at+len(inReply):], " command)")
	if !whole {
		return splitReply(said[:at]), reply.StageUnknown
	}
	return splitReply(said[:at]), stageOf(command)
}

// stageWords are looked for in this order in what Postfix says it was doing, or what was replied
// to.
var stageWords = [...]struct {
	word  string
	stage reply.Stage
}{
	{"RCPT TO", reply.StageRcpt},
	{"MAIL FROM", reply.StageMail},
	{"end of DATA", reply.StageDot},
	{"end of data", reply.StageDot},
	{"message body", reply.StageDot},
	{"DATA", reply.StageData},
	{"greeting", reply.StageConnect},
	{"TLS", reply.StageStartTLS},
	{"HELO", reply.StageHelo},
	{"EHLO", reply.StageHelo},
	{"LHLO", reply.StageHelo},
	{"initial protocol handshake", reply.StageHelo},
	{"XFORWARD", reply.StageHelo},
	{"AUTH", reply.StageHelo},
	{"SASL", reply.StageHelo},
}

func stageOf(doing string) reply.Stage {
	for _, w := range stageWords {
		if strings.Contains(doing, w.word) {
			return w.stage
		}
	}
	return reply.StageUnknown
}

// splitReply takes a reply apart that Postfix joined: the lines of a multi-line reply, each with
// its code, with a blank between them. It is zero if s does not begin with a code.
func splitReply(s string) esmtp.Reply {
	code, ok := replyCode(s)
	if !ok {
		return esmtp.Reply{}
	}
	r := esmtp.Reply{Code: code}
	mark := s[:3]
	for {
		more := len(s) > 3 && s[3] == '-'
		s = s[min(len(s), 4):]
		if !more || len(r.Lines) == maxReplyLines-1 {
			break
		}
		seam := nextSeam(s, mark)
		if seam < 0 {
			break // cut off, or a server whose last line says that there is more
		}
		r.Lines = append(r.Lines, s[:seam])
		s = s[seam+1:]
	}
	r.Lines = append(r.Lines, s)
	return r
}

// nextSeam finds the blank before the next line of a reply with this code, or -1.
func nextSeam(s, code string) int {
	for from := 0; ; {
		i := strings.Index(s[from:], code)
		if i < 0 {
			return -1
		}
		i += from
		end := i + len(code)
		if i > 0 && s[i-1] == ' ' && (end == len(s) || s[end] == '-' || s[end] == ' ') {
			return i - 1
		}
		from = end
	}
}

// replyCode reads the code that s begins with (RFC 5321 section 4.2: 2 to 5, 0 to 5, any digit; a
// second digit up to 9 is seen in the wild).
func replyCode(s string) (int, bool) {
	if len(s) < 3 || s[0] < '2' || s[0] > '5' || !isDigit(s[1]) || !isDigit(s[2]) ||
		len(s) > 3 && s[3] != ' ' && s[3] != '-' {
		return 0, false
	}
	return int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0'), true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
