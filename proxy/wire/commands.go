package wire

import "sync/atomic"

// commandNames are the commands that are counted by their name; what is none of them is "other".
var commandNames = [...]string{
	"other", "AUTH", "BDAT", "DATA", "EHLO", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET",
	"STARTTLS", "VRFY", "XFORWARD",
}

// replyClasses are the classes of the replies that end a command.
var replyClasses = [...]string{"2xx", "4xx", "5xx"}

// Commands counts the commands of clients by name and by the class of the reply, that of DATA by
// the reply to the message. What has no reply, because the client was gone, is not counted. The zero
// value is ready for use by many connections.
type Commands struct {
	n [len(commandNames)][len(replyClasses)]atomic.Uint64
}

// Each calls fn with each count, also those that are 0. Names are upper-case, or "other"; classes
// are "2xx", "4xx" and "5xx".
func (k *Commands) Each(fn func(command, class string, n uint64)) {
	for i, name := range commandNames {
		for j, class := range replyClasses {
			fn(name, class, k.n[i][j].Load())
		}
	}
}

func (k *Commands) count(command, code int) {
	if k == nil {
		return
	}
	switch code / 100 {
	case 2:
		k.n[command][0].Add(1)
	case 4:
		k.n[command][1].Add(1)
	case 5:
		k.n[command][2].Add(1)
	}
}

// The places of some names in commandNames.
const (
	nameOther = 0
	nameRCPT  = 10
)

// commandOf is the place of a command's name.
func commandOf(name string) int {
	for i, known := range commandNames {
		if name == known {
			return i
		}
	}
	return nameOther
}
