// Package verify tells what is known of a mailbox: whether mail for it can be
// delivered, from memory or by asking its own mail server.
//
//	v := verify.New(verify.Config{Helo: "gate.example.com"}, resolver, pool)
//	defer v.Close(ctx)
//	r := v.Verify(ctx, verify.Question{Address: rcpt, Sender: sender, Budget: budget})
//	if r.Proof { ... refuse ... }
//
// Verify has no error. Not to know is a verdict, [Unknown], with a [Reason]; only
// proof gives [Undeliverable]: a refusal of this very recipient by its own server
// (package verify/reply), a null MX, or a domain that does not exist. Whatever else
// goes wrong, with DNS, the network, TLS, the server or with ourselves, is Unknown.
//
// # The walk
//
// Internal domains, addresses without a domain, routed addresses and our own probe
// addresses are never asked about. Mail from <>, clients that greet with our name
// and passive mode are answered from memory only. Then, in this order: memory;
// one flight for each address, however many ask; the budget of the message; the
// breaker; DNS; the pauses that a mail server asked for; the probe.
//
// A question waits for at most the least of its context, [Config].RcptBudget and
// what is left of its [Budget]. The flight goes on when nobody waits any more, and
// its answer is there for the client's next attempt.
//
// # Memory
//
// What is known of a mailbox is kept by its address alone, never by the sender. A
// deliverable mailbox is remembered for days and asked again behind. A proof
// refuses from memory for an hour; when it is older, the server is asked again
// before it refuses, and only if there is no answer, or nobody may be asked, does the
// old proof hold, for a day at most. A reply to RCPT that is no refusal any more ends
// it. What could not be learnt is not asked again for some minutes.
//
// Evidence that depends on the sender is kept by sender domain and mail server, and
// what a mail server has against us by mail server. Neither is held against the
// recipient.
//
// # Limits
//
// Memory is bounded: three sections of fixed size, so that a flood of unknown
// addresses cannot push out the known ones. By default they hold 250 000 addresses
// together, at about 700 octets each and at most 2 KiB.
// Everything is lost at the end of the process. A server that accepts every address
// makes every address deliverable.
package verify
