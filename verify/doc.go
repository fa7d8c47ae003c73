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
// breaker; DNS; the provider (package verify/provider), which may not want to be asked or say
// nothing when it is; the pauses that mail servers asked for; the probe; the judge.
//
// A question waits for at most the least of its context, [Config].RcptBudget and
// what is left of its [Budget]. The flight goes on when nobody waits any more, and
// its answer is there for the client's next attempt.
//
// # The judge
//
// One pure function weighs the answer together with all else that is known: how far the provider
// can be believed, whether the domain accepts every address, what happened to earlier mail, and
// whether the provider refuses in a wave. The weights stand in one table (weights.go). Their sum
// gives Confidence and Deliverability; Undeliverable always needs proof besides.
//
// # Domains that accept everything
//
// Where a server says 250 to every RCPT, it says nothing of the mailbox. [Result].Domain has what is
// known of that, as a probability by Bayes: one refusal of a mailbox proves a domain selective;
// invented recipients that were accepted in different sessions, mail that was refused after it was
// accepted, and much ordinary mail without a refusal speak for accept-all. An invented recipient is
// asked for behind the answer about a real one that was accepted, only where nothing is known
// of the domain, the same name at most twice in a week and at most three times as long as
// the domain keeps its MX hosts; never where the profile says that the answer is known. Who needs
// the result of that waits for it ([Question].CatchAll).
//
// # What really happened to mail
//
// [Verifier.Observe] takes the relay's own log (package verify/feedback). Providers that accept
// everything and refuse after the message are known only by it. An address that used to get
// its mail is not refused by one bounce, unless its server says the same when asked. What contradicts
// a verdict ends it at once, and is counted ([Stats]); [Verifier.Relayed] tells which verdicts let
// a message pass.
//
// # Waves
//
// When a provider suddenly refuses addresses as unknown that used to work, or nearly everybody, its
// refusals mean [Incident] until it is over: they are not remembered, and the administrator is told. A
// bad list does not look like that: some of it is accepted.
//
// # Memory
//
// What is known of a mailbox is kept by its address alone, never by the sender. A
// deliverable mailbox is remembered for days and asked again behind. A proof
// refuses from memory for an hour; when it is older, the server is asked again
// before it refuses, and only if there is no answer, or nobody may be asked, does the
// old proof hold, for a day at most; a bounce at the end of data for 30 days, because
// there is no other way to learn it. A reply to RCPT that is no refusal any more ends
// it, as does a delivery. What could not be learnt is not asked again for some minutes.
//
// Evidence that depends on the sender is kept by sender domain and mail server, and
// what a mail server has against us by provider or site. Neither is held against the
// recipient.
//
// # Limits
//
// Memory is bounded: sections of fixed size, so that a flood of unknown
// addresses cannot push out the known ones ([Config].CacheOctets); besides, what is known of 32 768
// domains, of 65 536 addresses that mail arrived at, and of the last 20 000 recipients that were
// relayed. With a [Config].Store it outlives the process, but for the waves and pauses.
package verify
