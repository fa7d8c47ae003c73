package e2e

import "strings"

// doorCase is one recipient, and what both doors make of it.
type doorCase struct {
	from string // "": a sender that no other case has
	mail string // parameters of MAIL
	to   string
	// Of the client; "" is client.example.net [192.0.2.1], which says EHLO client.example.net.
	name, addr, helo string

	n int // so many times in one message; the last one counts. 0: once

	want string // code and enhanced code; the code of a deferral is Postfix's own at one of the doors
	rule string // that decided; "" is one of the built-in ones
}

// doorRules are rules of every kind, of names that both doors know. FRIENDS is a file.
const doorRules = `
[[policy.limits]]
name = "each sender"
per = "sender"
recipients = ["12/hour"]

[policy.lists]
friends = "FRIENDS"

[[policy.rules]]
name = "friends"
when = 'recipient.address in lists.friends'
action = "accept"

[[policy.rules]]
name = "network"
when = 'inNetwork(client.addr, "192.0.2.64/26")'
action = "defer"

[[policy.rules]]
name = "helo"
when = 'client.helo == "bad.example.net"'
action = "reject"
code = 554
enhanced_code = "5.7.0"
text = "not with this name, {sender}"

[[policy.rules]]
name = "dynamic"
when = 'client.name endsWith ".dyn.example.net" and trusted'
action = "defer"
code = 451
text = "{client} has no mail server"

[[policy.rules]]
name = "big"
when = 'size > 5_000_000'
action = "reject"
code = 552
enhanced_code = "5.3.4"
text = "too big"

[[policy.rules]]
name = "thrown away"
when = 'recipient.disposable'
action = "reject"

[[policy.rules]]
name = "roles"
when = 'recipient.role and sender.free'
action = "reject"
text = "{recipient} is no person"

[[policy.rules]]
name = "bounces"
when = 'null_sender and recipient.local startsWith "noreply"'
action = "reject"

[[policy.rules]]
name = "quoted"
when = 'recipient.local contains " "'
action = "reject"
text = "{recipient} has a blank, {sender}"

[[policy.rules]]
name = "full"
when = 'reason == "mailbox_full"'
action = "reject"

[[policy.rules]]
name = "mark"
when = 'reason == "temporary"'
action = "continue"
mark = "shaky"

[[policy.rules]]
name = "marked"
when = '"shaky" in marks and sender.local == "bulk"'
action = "defer"

[[policy.rules]]
name = "strict"
when = 'verdict == "unknown" and sender.local == "strict"'
action = "defer"

[[policy.rules]]
name = "hard"
when = 'verdict == "unknown" and sender.local == "hard"'
action = "reject"
code = 550
enhanced_code = "5.4.1"
text = "{domain} cannot be asked: {reason}"

[[policy.rules]]
name = "soft"
when = 'verdict != "deliverable" and sender.local == "soft"'
action = "reject"

[[policy.rules]]
name = "sure"
when = 'verdict == "deliverable" and recipient.domain == "sure.example"'
action = "defer"
text = "{verdict}, but not now: {reason} at {mx}"
`

// doorCases are the recipients. Most rules are met once, and once more by a case that they just miss.
var doorCases = []doorCase{
	// What is known of the mailbox.
	{to: "user@ok.example", want: "250 2.1.5"},
	{to: "USER@OK.EXAMPLE", want: "250 2.1.5"},
	{to: "nobody@ok.example", want: "550 5.1.1"},
	{to: "off@ok.example", want: "550 5.2.1"},
	{to: "moved@moved.example", want: "250 2.1.5"}, // a 551 proves nothing yet
	{to: "user@busy.example", want: "250 2.1.5"},
	{to: "user@full.example", want: "452 4.2.2", rule: "full"},
	{to: "user@catchall.example", want: "250 2.1.5"},
	{to: "nobody@catchall.example", want: "250 2.1.5"},
	{to: "user@grey.example", want: "250 2.1.5"},
	{to: "nobody@grey.example", want: "550 5.1.1"},
	{to: "user@null.example", want: "556 5.1.10"},
	{to: "user@gone.example", want: "250 2.1.5"}, // it is to be confirmed
	{to: "user@servfail.example", want: "250 2.1.5"},
	{to: "user@down.example", want: "250 2.1.5"},
	{to: "user@silent.example", want: "250 2.1.5"},
	{to: "user@blocked.example", want: "250 2.1.5"},
	{to: "user@policy.example", want: "250 2.1.5"},
	{to: "user@temporary.example", want: "250 2.1.5"},
	{to: "user@dropping.example", want: "250 2.1.5"},
	{to: "user@choosy.example", want: "250 2.1.5"},

	// Rules that need a verdict.
	{from: "bulk@example.org", to: "user@temporary.example", want: "450 4.2.0", rule: "marked"},
	{from: "bulk@example.org", to: "user@ok.example", want: "250 2.1.5"},
	{from: "strict@example.org", to: "user@ok.example", want: "250 2.1.5"},
	{from: "strict@example.org", to: "user@greyall.example", want: "450 4.2.0", rule: "strict"},
	{from: "strict@example.org", to: "user@down.example", want: "450 4.4.1", rule: "strict"},
	{from: "strict@example.org", to: "user@silent.example", want: "450 4.4.1", rule: "strict"},
	{from: "strict@example.org", to: "user@servfail.example", want: "451 4.4.3", rule: "strict"},
	{from: "strict@example.org", to: "user@blocked.example", want: "451 4.7.1", rule: "strict"},
	{from: "strict@example.org", to: "user@policy.example", want: "451 4.7.1", rule: "strict"},
	{from: "strict@example.org", to: "user@temporary.example", want: "450 4.2.0", rule: "strict"},
	{from: "strict@example.org", to: "nobody@ok.example", want: "550 5.1.1"},
	{from: "hard@example.org", to: "user@down.example", want: "550 5.4.1", rule: "hard"},
	{from: "hard@example.org", to: "nobody@ok.example", want: "550 5.1.1"},
	{from: "soft@example.org", to: "user@temporary.example", want: "450 4.2.0", rule: "soft"},
	{from: "soft@example.org", to: "nobody@ok.example", want: "550 5.1.1", rule: "soft"},
	{from: "soft@example.org", to: "user@null.example", want: "556 5.1.10", rule: "soft"},
	{to: "user@sure.example", want: "450 4.7.1", rule: "sure"},
	{to: "nobody@sure.example", want: "550 5.1.1"},

	// Rules about the client and the envelope.
	{addr: "192.0.2.70", to: "user@ok.example", want: "450 4.7.1", rule: "network"},
	{addr: "192.0.2.63", to: "user@ok.example", want: "250 2.1.5"},
	{helo: "bad.example.net", to: "user@ok.example", want: "554 5.7.0", rule: "helo"},
	{name: "host.dyn.example.net", to: "user@ok.example", want: "451 4.7.1", rule: "dynamic"},
	{name: "[UNAVAILABLE]", to: "user@ok.example", want: "250 2.1.5"},
	{mail: " SIZE=5000001", to: "user@ok.example", want: "552 5.3.4", rule: "big"},
	{mail: " SIZE=5000000 BODY=8BITMIME", to: "user@ok.example", want: "250 2.1.5"},
	{to: "user@mailinator.com", want: "550 5.7.1", rule: "thrown away"},
	{to: "friend@mailinator.com", want: "250 2.1.5", rule: "friends"},
	{to: "nobody@friends.example", want: "250 2.1.5", rule: "friends"},
	{from: "anna@gmail.com", to: "info@ok.example", want: "550 5.7.1", rule: "roles"},
	{from: "anna@gmail.com", to: "user@ok.example", want: "250 2.1.5"},
	{from: "<>", to: "noreply@ok.example", want: "550 5.7.1", rule: "bounces"},
	{from: "<>", to: "user@ok.example", want: "250 2.1.5"},
	{from: "<>", to: "nobody7@ok.example", want: "250 2.1.5"}, // never probed for bounces

	// Limits of a sender.
	{from: "much@example.org", n: 12, to: "user@ok.example", want: "250 2.1.5"},
	{from: "more@example.org", n: 13, to: "user@ok.example", want: "450 4.7.1"},
	{from: "more@example.org", to: "nobody@ok.example", want: "450 4.7.1"},

	// Spellings.
	{from: `"s p"@example.org`, to: `"a b"@ok.example`, want: "550 5.7.1", rule: "quoted"},
	{to: `"user"@ok.example`, want: "250 2.1.5"},
	{to: `"no\"body"@ok.example`, want: "550 5.1.1"},
	{to: `user%other.example@ok.example`, want: "250 2.1.5"}, // a route: not probed
	{to: `user@[192.0.2.1]`, want: "250 2.1.5"},
	{to: "root", want: "250 2.1.5"}, // Postfix asks no policy server about <postmaster>
	{to: "@relay.example:nobody@ok.example", want: "550 5.1.1"},
	{mail: " SMTPUTF8", from: "jörg@example.org", to: "jürgen@ok.example", want: "550 5.1.1"},
	{mail: " SMTPUTF8", to: "user@xn--bcher-kva.example", want: "250 2.1.5"},
	{mail: " SMTPUTF8", to: "nobody@bücher.example", want: "550 5.1.1"},
	{from: strings.Repeat("verp=", 20) + "@example.org", to: "user@ok.example", want: "250 2.1.5"},
}
