// Package feedback learns from what really happened to mail: it reads the relay's own log and turns
// each delivery line into an [Observation].
//
// A probe asks a mail server a question; a delivery is the answer that counts. Providers that
// accept every RCPT and refuse after DATA can be known in no other way.
//
// # Use
//
//	f, err := feedback.New(feedback.Config{Path: "/var/log/mail.log", Save: save, Load: load})
//	err = f.Follow(ctx, func(o feedback.Observation) { verifier.Observe(o) })
//
// Path is a file in the format of Postfix (written by syslogd, rsyslog or Postfix's maillog_file),
// or [Journal] for the systemd journal, which is read through journalctl. A file is followed across
// rotation: renamed and created anew, copied and truncated, a symbolic link that moves on, or not
// there yet. The position is kept through Config.Load and Config.Save, so that a restart neither
// repeats lines nor misses those written meanwhile, also when they are in a file that was rotated
// away since (compressed ones are not read).
//
// # What a line says, and what it does not
//
// Postfix logs for each recipient, in this order (src/global/log_adhoc.c):
//
//	QUEUEID: to=<rcpt>[, orig_to=<rcpt>], relay=host[ip]:port[, conn_use=N], delay=…, delays=…,
//	    dsn=X.Y.Z, status=sent|deferred|bounced (text)
//
// The text of a refusal is "host NAME[IP] said: REPLY (in reply to … command)". The Stage comes
// from its end, the Reply from its middle: Postfix joins the lines of a reply with blanks, and they
// are taken apart again where "550-" and "550 " show the seams.
//
// Not every line is about the recipient's mail server, and only those that are become observations:
//
//   - relay=none: no server was reached. A recipient that waits because its destination was found
//     dead or refused another one ("delivery temporarily suspended: host … said: …") carries the
//     reply to somebody else; it is never given as this recipient's. Config.Unsent keeps such
//     lines, without a reply.
//   - relay=local, virtual, a pipe, a Unix socket, or a loopback, private or link-local address:
//     the relay's own mailboxes and content filters, whose "250 queued as" is no delivery.
//     Config.Networks names networks in which recipients' servers may be all the same;
//     Config.Internal keeps all.
//   - A smarthost (relayhost) answers 250 to everything it queues. The log cannot tell it from a
//     recipient's server: name it in Config.Relays. Whoever uses an observation can also compare MX
//     and Addr with the hosts of the recipient's domain.
//   - status=deliverable and undeliverable are Postfix's own address probes, not deliveries.
//
// A reply to the end of data is about a transaction, which may have had other recipients:
// Observation.Recipients tells how many the message had.
//
// # Limits
//
// The sender is known from the queue manager's line of the same queue id, if that was read:
// HasSender tells. The last 65,536 to 131,072 messages are remembered. A line longer than 16 KiB is
// skipped (Postfix cuts its own at about 2,000 octets; a line cut there has lost its end, so its
// Stage is unknown). Syslog's old time stamps have no year and no zone: the last year that puts
// them not into the future, and this process's zone. A crash, other than a stop, may repeat what
// was read in the last second.
//
// # Security
//
// Whoever may write to the log can teach the verifier: on most systems any local user can, with
// logger(1). Over the journal, only messages of facility mail count. A recipient's address or a
// server's words cannot forge a line: an address that is not well-formed, or has octets that the
// logger masked, drops the line, and so does a text that itself looks like the middle of a delivery
// line.
package feedback
