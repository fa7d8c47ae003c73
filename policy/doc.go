// Package policy decides what becomes of a recipient: relay it, refuse it for now, refuse it for
// good. Rules decide, in order, and the first whose condition is true ends the walk:
//
//	engine, err := policy.New(policy.Config{Rules: rules}, verifier, log)
//	d := engine.Rcpt(ctx, tx, rcpt)
//	if d.Action == policy.Accept { ... relay it ... } else { ... answer d.Reply ... }
//
// Before the rules stand the gates: overrides, the suppression list, the limits of the sender.
// Behind the configured rules stand those of a preset (Presets), by default these: what is proven
// undeliverable is rejected, everything else accepted. They hold for what no configured rule
// matched; a last rule with the condition "true" and the action "accept" leaves them out.
//
// # Rules
//
// A rule is a [[policy.rules]] table:
//
//	name          unique; stands in the log and in explain
//	when          the condition
//	action        "accept" (the relay's reply is the client's), "reject" (5xx), "defer" (4xx), or
//	              "continue": leave a mark or a header, and go on with the next rule
//	code          450, 451, 452 for defer; 550, 551, 552, 553, 554, 556 for reject. Never 421
//	enhanced_code RFC 3463, its class that of the action: "5.7.1"
//	text          one line of printable ASCII, at most 400 octets, with placeholders
//	mark          for accept and continue: a name for "NAME" in marks in later rules, for message
//	              checks and the journal; small letters, digits, - and _
//	header        for accept and continue: a field that is put on top of the message,
//	              "X-Rcptgate: {verdict} {reason}"
//
// Only name, when and action are needed. What is not written out is chosen by what is known, and so
// are the words. Every refusal carries a reference, "(ref KX2M7QRT)", that also stands in the log.
//
// # Conditions
//
// Conditions are expressions of github.com/expr-lang/expr, and give true or false:
//
//	recipient.domain == "example.com"
//	inNetwork(client.addr, "192.0.2.0/24", "2001:db8::/32") && size > 10_000_000
//	recipient.domain endsWith ".example.com" || verdict in ["deliverable", "risky"]
//
// The names that cost nothing:
//
//	client.addr        IP address of the client, by trusted XFORWARD or the connection; "" if unknown
//	client.name        its verified host name, lower case; "" if unknown
//	client.helo        what it greeted with
//	client.login       SASL user; "" if unknown (XFORWARD does not carry it)
//	sender.address     local@domain; "" for the null sender
//	sender.local       local part, unquoted, case as written
//	sender.domain      lower case, A-labels (xn--...)
//	sender.role        as recipient.role
//	sender.free        as recipient.free
//	sender.messages_minute    messages of the sender in the last minute, this one included: of its
//	                          login or, without one, of the client and the sender's domain together
//	sender.messages_hour      ... in the last hour
//	sender.messages_day       ... in the last 24 hours
//	sender.recipients_minute  its recipients, this one included
//	sender.recipients_hour    ... in the last hour
//	sender.recipients_day     ... in the last 24 hours
//	sender.invalid     0 to 1: share of its recipients of the last 24 hours that do not exist
//	sender.state       what list hygiene says of it: "ok", "warn", "throttle", "hold"
//	recipient.address  local@domain
//	recipient.local    local part, unquoted, case as written
//	recipient.domain   lower case, A-labels (xn--...); "" for <postmaster>
//	recipient.role     true if the local part belongs to a role: info, abuse, list-request, ...
//	recipient.disposable  true if the domain, or one above it, has mailboxes to be thrown away
//	recipient.free     true if anybody gets a mailbox there for nothing: gmail.com, ...
//	door               "smtp" (the proxy) or "policyd" (the Postfix policy service)
//	size               octets that the client announced, 0 if it did not
//	null_sender        true for MAIL FROM:<>
//	trusted            true if the client is a mail server that gave XFORWARD
//	suppressed         true if the recipient is on the suppression list: see Gates
//	marks              what earlier rules left: "NAME" in marks
//	lists.NAME         a file: recipient.address in lists.NAME
//
// And those that need the verifier. They are lazy: it is asked, once for each recipient, when an
// evaluation reaches the first of them. && and || evaluate their right side only when it matters,
// so that recipient.domain == "example.com" || verdict == "deliverable" never probes example.com.
//
//	verdict            "unknown", "deliverable", "undeliverable", "risky"
//	proof              true if undeliverable is proven, by a refusal of this very recipient, ...
//	reason             why: the reasons of package verify, such as "mailbox_unknown", "greylisted"
//	confidence         0 to 1: how sure the verdict is
//	deliverability     0 to 1: probability that mail will be delivered
//	provider           mail provider; "" if not known
//	catch_all          true if the domain is known to accept every local part
//	mx                 mail server that was asked; "" if none
//	stage              "connect", "helo", "starttls", "mail", "rcpt", ...; "" without a conversation
//
// Names lists them for programs. A comparison with a value that a name never has is a fault
// (verdict == "invalid", confidence > 90, recipient.domain == "Example.COM").
//
// Operators: == != < <= > >= && || ! (and, or, not), in, contains, startsWith, endsWith, matches
// (RE2, a literal pattern), + - * / %, and c ? a : b. Functions: inNetwork(address, network...),
// all, any, none, one, hasPrefix, hasSuffix, indexOf, lastIndexOf, len, lower, split, trim,
// trimPrefix, trimSuffix, upper. Nothing else of expr: no variables, no ranges, no loop inside a
// loop, so that the rule alone bounds the time of its evaluation, to milliseconds, whatever a
// client sends.
//
// # Lists
//
// Config.Lists gives files names. A file has one entry a line; the first word of a line counts,
// empty lines and those that begin with # do not. x in lists.NAME is true if the file has
//
//	anna@example.com   for this address
//	example.com        for this domain, and for every address in it; so is *@example.com
//	.example.com       for the subdomains, at any depth, and for every address in them, but not for
//	                   example.com itself
//	joe                for any other value that is the same: a login, a host name, an IP address
//
// Small and capital letters of ASCII are the same, in local parts too; domains are compared as
// A-labels. A file is looked at every 5 s while it is used, and taken over behind, when it has not
// changed for a second. A file that is gone or has a fault changes nothing: the list stays, and the
// log tells why. A file may have 1,000,000 entries.
//
// # Marks and headers
//
// A rule that continues leaves a mark, a header, or both. A mark that is there, or is not, because
// of a verdict carries that on: a reject for it needs proof like one for the verdict itself.
//
// A header is one line of printable ASCII, cut at 998 octets. It may hold {sender} {client}
// {verdict} {reason} {code} {enhanced} {stage} {rule} {marks}, and nothing that names a recipient,
// because all recipients of the message see it. Names that mean something to others (Received,
// DKIM-Signature, List-Unsubscribe, ...) are refused.
//
// A condition that breaks at run time (a division by zero) has not matched. The first break of a
// rule is logged, all are counted (Engine.Faults).
//
// # Gates
//
// The gates ask what is known beside the verifier (packages register and senders), in this order,
// and what one decides no rule sees:
//
//	built-in: override          accepts what an administrator allowed, by address or domain, without
//	                            a probe and whatever the other gates say. An override of a provider
//	                            passes over the rules that would refuse because of a verdict about
//	                            it, and the sender's counters do not learn that verdict; all else
//	                            holds. What then passes is accepted under this name
//	built-in: suppression list  rejects: a hard bounce with the reply of then (550 5.1.1);
//	                            complaints, unsubscriptions and what was entered by hand with
//	                            550 5.7.1
//	built-in: sender limits     defers what is over a limit: 450 4.7.1, with the time to wait
//	built-in: list hygiene      defers the recipients of a sender with too many that do not exist;
//	                            while it is held, those pass that memory has as deliverable
//
// Each recipient that passes is counted for its sender, once, also one that rules then refuse. What
// is suppressed for a hard bounce counts as one that does not exist. With SuppressionRules the
// second gate is open, and rules may decide by the name suppressed.
//
// # Refusing
//
// A verdict refuses for good only by proof, whatever the rule says. A reject whose condition asked
// the verifier and got no proof becomes a defer, unless the rule writes its code out: then that
// code is sent. In an "or", therefore, write what needs no verdict first, or make it a rule of its
// own.
//
//	condition            reject                             defer
//	asked nothing        550 5.7.1                          450 4.7.1
//	mailbox_unknown      550 5.1.1                          450 4.2.0
//	mailbox_disabled     550 5.2.1                          450 4.2.0
//	moved                550 5.1.6                          450 4.2.0
//	domain_unknown       550 5.1.2                          450 4.2.0
//	null_mx              556 5.1.10                         450 4.2.0
//	mailbox_full         as defer                           452 4.2.2
//	no_smtputf8          as defer                           450 4.6.7
//	timeout, unreachable as defer                           450 4.4.1
//	dns_failure          as defer                           451 4.4.3
//	no_mail_host         as defer                           451 4.4.4
//	tls_failure          as defer                           450 4.7.5
//	protocol_error       as defer                           451 4.5.0
//	rate_limited, blocked_ip, blocked_sender, policy        451 4.7.1
//	mailbox_exists, delivered, internal_domain              450 4.7.1
//	busy                 as defer                           450 4.2.1
//	incident             as defer                           451 4.4.0
//	local_limit, closing as defer                           451 4.3.2
//	breaker              as defer                           451 4.3.0
//	everything else      as defer                           450 4.2.0
//
// A text may hold {recipient} {domain} {sender} {client} {verdict} {reason} {mx} {code} {enhanced}
// {stage} {rule} {marks} {ref}; code, enhanced and stage are those of the mail server's reply.
// What is not known is "none": a text never asks the verifier. Without {ref} the reference is
// appended. Values from the network are escaped, and a mail server's own words never reach a
// client.
//
// # Shadow mode
//
// In the mode "shadow" the engine decides and records but accepts, the gates' refusals too:
// Decision.Shadow and ShadowReply tell what would have happened.
//
// # Cases
//
// ParseCases and RunCases hold a configuration to a table of recipients with the decisions that the
// administrator expects, without a network. Warnings finds rules that can never matter.
//
// # Limits
//
// At most 1000 rules; a condition has at most 8 KiB, a text 400 octets. The engine keeps nothing of
// a message and never waits for anything but the verifier.
package policy
