package mxsim

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// logQueued writes what smtpd, cleanup and qmgr say of a message that comes in.
func (d *Delivery) logQueued(q queued) {
	id := q.queueID
	d.logLine("smtpd", "%s: client=localhost[127.0.0.1]", id)
	d.logLine("cleanup", "%s: message-id=<%s@%s>", id, strings.ToLower(id), d.relay.Name)
	d.logLine("qmgr", "%s: from=<%s>, size=%d, nrcpt=%d (queue active)", id, q.From, q.Octets, len(q.Rcpts))
}

// logDelivery writes the line about one recipient, in the format of Postfix's log_adhoc.c.
func (d *Delivery) logDelivery(q queued, r result) {
	relay := "none"
	if r.host != "" {
		relay = fmt.Sprintf("%s[%s]:25", r.host, r.addr)
	}
	total := r.a + r.b + r.c + r.d
	d.logLine("smtp", "%s: to=<%s>, relay=%s, delay=%s, delays=%s/%s/%s/%s, dsn=%s, status=%s (%s)",
		q.queueID, r.rcpt, relay, seconds2(total), seconds2(r.a), seconds2(r.b), seconds2(r.c), seconds2(r.d),
		r.dsn, r.status, printableASCII(r.text))
}

func (d *Delivery) logExpired(q queued) {
	d.logLine("qmgr", "%s: from=<%s>, status=expired, returned to sender", q.queueID, q.From)
}

func (d *Delivery) logLine(program, format string, args ...any) {
	if d.c.Log == nil {
		return
	}
	d.mu.Lock()
	d.pid++
	pid := d.pid
	d.mu.Unlock()
	stamp := time.Now().Format(time.Stamp)
	if d.c.LogISO {
		stamp = time.Now().Format("2006-01-02T15:04:05.000000-07:00")
	}
	host, _, _ := strings.Cut(d.relay.Name, ".")
	_, _ = io.WriteString(d.c.Log, fmt.Sprintf("%s %s %s/%s[%d]: ", stamp, host, d.c.Service, program, pid)+
		fmt.Sprintf(format, args...)+"\n")
}

// seconds2 writes a duration as Postfix does: two significant digits, no more than two decimals.
func seconds2(d time.Duration) string {
	s := d.Seconds()
	switch {
	case s < 0.005:
		return "0"
	case s < 10:
		return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(s, 'f', 2-btoi(s >= 1), 64), "0"), ".")
	}
	return strconv.FormatFloat(s, 'f', 0, 64)
}

// oneLine joins the lines of a reply as Postfix's log does.
func oneLine(reply string) string { return strings.ReplaceAll(reply, "\n", " ") }

// printableASCII replaces what Postfix's log replaces.
func printableASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c >= 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}

// dsnOf returns the enhanced code of a reply, or what Postfix takes for one that has none.
func dsnOf(reply string) string {
	last := reply[strings.LastIndexByte(reply, '\n')+1:]
	if len(last) > 4 {
		word, _, _ := strings.Cut(last[4:], " ")
		var class, subject, detail int
		if n, err := fmt.Sscanf(word, "%d.%d.%d", &class, &subject, &detail); err == nil && n == 3 &&
			class == int(last[0]-'0') {
			return fmt.Sprintf("%d.%d.%d", class, subject, detail)
		}
	}
	return last[:1] + ".0.0"
}
