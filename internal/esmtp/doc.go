// Package esmtp is the codec for everything that goes over an SMTP connection: addresses, commands
// with their parameters, replies, XFORWARD, and a client that pipelines.
//
// # Use
//
// A command from a client is parsed once, with [ParseMail] or [ParseRcpt], into a value; whatever
// is decided, looked up or sent on afterwards starts from that value and never from the text. The
// writers (Append methods) re-quote, so a mailbox cannot turn into another one, or grow a
// parameter, on its way from one peer to the next.
//
// A reply of a server is data, whatever its code: [ReadReply] and the methods of [Client] return it
// as a [Reply]. Their error says that the conversation itself is broken, and a [Client] that
// returned one is of no further use but to be closed. The codec's own refusal of a client's command
// is a [SyntaxError], which carries the reply to send.
//
// # What it is not
//
// There is no server here, no message parser, and no BDAT; of AUTH only the client's PLAIN and LOGIN.
// Parameters of extensions that are not in the list of [ParseMail] and [ParseRcpt] are refused, not
// passed on.
//
// # Limits
//
// Everything read from a peer is bounded: a reply has at most [MaxReplyLines] lines and
// [MaxReplyOctets] octets, of each line at most [MaxReplyLine] octets are kept. Lines end with CRLF
// and with nothing else. Every call of a [Client] has an absolute deadline.
//
// # Security
//
// An [Address], a [Mail], a [Rcpt], an [XForward] and a [Reply] cannot put a CR, an LF, a NUL or
// another control octet of their own on the wire, however they were made. [AppendEscaped] is the
// one way in which octets from the network become text for people, logs and other peers.
package esmtp
