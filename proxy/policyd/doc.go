// Package policyd is the second door of the gate: a server for Postfix's policy delegation
// (https://www.postfix.org/SMTPD_POLICY_README.html). Postfix tells it of each recipient, and it
// answers what package policy decides: the same engine, rules and verdicts as in package proxy, but
// the mail itself does not come through here. When the server is down Postfix can go on without it,
// and unlike a proxy it learns the login of the client.
//
//	smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
//	smtpd_recipient_restrictions =
//	    check_policy_service { inet:127.0.0.1:10040, timeout=10s, default_action=DUNNO }
//
// A permit_mynetworks before check_policy_service would leave out the very clients whose mail goes
// to the Internet: what they may do belongs into smtpd_relay_restrictions.
//
// # Protocol
//
// A request is a list of name=value lines with an empty line behind it, a reply one such line:
//
//	request=smtpd_access_policy        action=550 5.1.1 mailbox does not exist ...
//	protocol_state=RCPT
//	sender=anna@example.com
//	recipient=nobody@example.net
//	instance=1d4c.6743b1a0.5f2e1.0
//	...
//
// A connection takes any number of requests. Those that a client sends without waiting are decided
// side by side and answered in order, those answers together that are ready together.
//
// The attributes that count: request, protocol_state, protocol_name, client_address, client_name,
// client_port, helo_name, sender, recipient, recipient_count, queue_id, instance, size,
// sasl_username, ccert_subject. All others are ignored. The login is sasl_username or, without one,
// the subject of the client's certificate, which Postfix tells only if it trusts it.
//
// # States
//
//	RCPT            the recipient is decided
//	DATA            nothing is decided; a header field that is left over is added
//	END-OF-MESSAGE  nothing is decided; the message is logged and told to the hooks
//	all others      nothing is decided
//
// So ask once, in smtpd_recipient_restrictions, behind what refuses without a question. A second
// check_policy_service in smtpd_end_of_data_restrictions is good for the log of messages and lets the
// verifier learn from the fate of the mail by its queue ID. Nobody is asked about <postmaster>
// without a domain, which Postfix always takes. Where other lists ask too, such as
// smtpd_sender_restrictions, Postfix asks about each recipient several times, see Messages.
//
// # Answers
//
//	accepted          DUNNO, or PREPEND with a header field that a rule adds
//	rejected          550 5.1.1 text, with the code and words of the decision
//	deferred          DEFER_IF_PERMIT 4.2.0 text: a later restriction may still reject for good. The
//	                  code is Postfix's, access_map_defer_code
//	shadow mode       WARN would reject: 550 5.1.1 text, which Postfix logs
//
// Never OK, which would skip all later restrictions, and never 421 or 521, which end the client's
// session. An answer has room for one header field: the others go with the next recipients of the
// message and with DATA, each once a message. A header field that no answer is left for is logged.
// Postfix writes "<recipient>: Recipient address rejected: " before the text itself, so the text
// does not repeat the recipient; enhanced codes that it does not know, such as 5.1.10, it replaces. The answer is one line of printable text whatever a rule or a
// mail server wrote.
//
// # Messages
//
// The recipients of one message have the same instance, and are one policy.Transaction with one
// budget of waiting time. A transaction belongs to the connection that it came over. It ends with
// END-OF-MESSAGE, or when the connection names another instance, because Postfix has then ended or
// abandoned the message. Postfix may go on with a message over a new connection, or ask about its
// end over another one: therefore all transactions of the server are in one table, and those whose
// connection has closed stay there for 15 minutes, or until 1000 others, or 20,000 recipients of
// others, did after them. Requests of one instance that differ in client, login or sender are not one
// message. Without an instance each request is a message of its own.
//
// When no answer came through, because the connection was closed or timed out, Postfix repeats the
// request over a new one. A recipient that a message was asked about before is answered as before,
// and not decided, counted, logged or told to the hooks again; if it is still waited for, both wait
// for the same. So is the end of a message, among the last 4096. This holds for the first 1000
// recipients of a message; it takes about 50 octets for each, and its answer if that refuses.
//
// # Faults
//
// A request that cannot be understood (no "=" in a line, a NUL, more than 100 attributes, more than
// 64 KiB, an attribute with two values, another type) is answered DUNNO, or DEFER_IF_PERMIT if
// Config.DeferMalformed says so, and logged with what is wrong; the connection goes on behind it.
// So is a sender or recipient that is no address: Postfix takes some that RFC 5321 does not know.
// Of each connection ten such lines are logged, the rest is counted in one line at its end.
//
// # Limits
//
// A connection holds at most 64 KiB of requests and 100 that wait for a verdict. One that is silent
// for Config.IdleTimeout is closed, and one that takes longer than 30 s over a request or does not
// take its answers for as long. What a client has asked that closes its connection is decided all
// the same, since it may ask again: of 100 such connections at a time, for the others the waits end.
//
// # Security
//
// Who may connect can make the gate probe any address, in the name of any client. Listen on loopback
// or on a unix socket in a directory that only Postfix enters; Config.Networks bounds who may
// connect over TCP. There is no encryption and no login.
package policyd
