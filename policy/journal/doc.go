// Package journal keeps every decision with what it was based on, and finds it again by the
// reference that a refusal carries:
//
//	j, err := journal.Open(journal.Config{Path: "/var/lib/rcptgate/journal.jsonl"}, log)
//	j.Decision(tx, &d, reply, relayed)   // for each recipient; never waits
//	j.Message(tx, &journal.Message{...}) // for each message that came to its end
//	story, ok := j.Story(ctx, "KX2M7QRT")
//	story.Explain(os.Stdout)
//	defer j.Close(ctx)
//
// # Memory
//
// The last 10,000 entries are kept, and of what is older the last 50,000 refusals, those that would
// have been refused in shadow mode and those of the relay among them; all together at most 64 MiB,
// a segment of 256 KiB more for the refusals and what is pending for the others. The last entries
// are values, counted with about all that they point at, and are made lines of when somebody reads
// them. Older refusals are lines as in the file, out of the collector's sight. Search and Each read
// memory, Tail gives what comes from now on, Find looks in memory and then in the files.
//
// # The file
//
// A line is one JSON object, an Entry; "v" is the version of the format. Lines are in the order in
// which the clients were answered, or nearly so. Who reads them should pass over fields and kinds
// that it does not know. Files are for their owner alone (0600) and rotated from here: at 100 MiB,
// or when the first line is a day old, the file becomes PATH.1, and PATH.1 becomes PATH.2, and so
// on; 10 are kept. With a retention (Config.MaxAge) rotated files go when their last line is older,
// so that no line lives longer than the retention and the time of one file together; memory goes by
// the same time. For logrotate instead, set MaxSize and RotateEvery to -1:
// the file is opened anew within a second of being moved away, or at Reopen; copytruncate works
// too. Compressed files are not searched.
//
// What a crash leaves is a cut last line, which readers leave out; the next line begins on a line
// of its own.
//
// # Never in the way of mail
//
// Decision copies values, without a look at them, into a queue of 8192; one goroutine makes lines
// of them, another one writes to disk. When the queue is full a decision is lost; when 4 MiB wait
// for the disk a line is only in memory; both are counted and said once a minute. A disk that is
// full is tried again each second. An entry can be found at once, and is in the file after some
// ten milliseconds.
//
// # Privacy
//
// Config.Redact says how addresses are written, in the file and by all that reads memory: whole, shortened
// to their first letter, or as a hash that only who has the secret can compare with an address. The
// domain stays. Logins count as addresses. Texts, such as the mail server's reply, lose every word
// that looks like an address or holds the local part of this recipient or sender. Client addresses
// and host names stay.
//
// The last entries, being values, are whole inside the process: a core dump has them.
//
// # Webhook
//
// Refusals are told to a list manager, one POST for each in listmonk's shape: see Webhook. List
// managers do not learn from what SMTP says at RCPT. Each is tried 8 times with pauses of up to
// 5 minutes; 10,000 may wait. 5xx, 408, 425, 429, 401, 403, 404 and a broken connection are tried
// again, any other answer is not. A redirect is followed only to the same host and by POST.
// Recipients that would have been refused in shadow mode are not told, nor are messages.
//
// # Reading
//
// An Archive reads the files whether a gate runs or not, the newest line first, at most 1 GiB a
// call. What is no entry is left out, counted and said (ReadReport), never guessed at. Report
// counts refusals by rule, sender domain, provider and reason; from memory its shares are wrong as
// soon as entries have been dropped that were no refusals, so feed it from the files, or with
// recent time only.
package journal
