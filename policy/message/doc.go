// Package message checks a whole message before its final dot is passed on: what the large
// receivers demand of senders (RFC 5322 form, DKIM, DMARC, SPF, one-click unsubscription) is said to
// our own client, instead of in bounces and spam folders later.
//
// # Use
//
//	checker, err := message.New(message.Config{Levels: message.BulkLevels()}, resolver, dir, log)
//	run := checker.Begin(envelope) // nil: nothing to check; its methods take that
//	for each piece of the body on its way to the relay {
//		run.Write(piece)
//	}
//	report := run.Finish(ctx) // before the final dot is sent to the relay
//
// Every check has a level: off, log, warn, defer or reject. [Checks] lists them with what they find.
// The zero Config checks nothing. Whatever the levels, trouble with the DNS never rejects a message:
// at the levels defer and reject it defers, otherwise it passes.
//
// With Config.Position "later" the mail is signed after us, as in the usual chain of Postfix and
// OpenDKIM or Rspamd, so that everything about signatures and alignment is off.
//
// # How it works
//
// Write takes the octets of the wire apart: dots, line ends, the end of the header. The header is
// kept until it is complete; then the look-ups begin, all side by side, while the body flows. The
// body is kept nowhere: it goes through package dkim of go-msgauth, which hashes it.
//
// That package asks for the key before it reads the body. So it is started only when the keys are
// here, and until then up to 96 KiB of body wait for it. A longer body whose keys are not yet here
// holds Write, at most one second in a message; keys that come later than that count as trouble
// with the DNS. Mail from a domain whose key is in the resolver's cache never waits.
//
// # SECURITY
//
// A message costs at most 512 KiB, whatever its size: the header is read up to 128 KiB, 1000 fields,
// 1000 lines and 64 KiB a field; beyond that the check header_size finds something and signatures
// are not looked at, which is a failed dkim check. The library, which copies a header once for each
// line of a field and keeps every blank line until the next text, sees only the first five
// signatures and the fields that they sign, as far as that is cheap, and no endless blank lines.
//
// A signature that is valid may leave room for a second From on top. The check dkim_covered
// therefore counts: a field must be signed as often as it occurs.
//
// # LIMITS
//
// Attachments and text are not looked into: a link to unsubscribe in the body is not looked for.
// ARC is not evaluated (it is on its way to "historic"). What receivers demand of addresses, such as
// PTR records and TLS, is not seen here; what they demand of recipients' complaints, nowhere.
package message
