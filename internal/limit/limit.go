// Package limit holds the limits that the gate puts on itself, each kept apart for every key
// (a mail host's address, a recipient domain, a client):
//
//   - [Slots] bounds how many things happen at the same time: connections to one mail host.
//   - [Limiter] bounds how often something happens: probes of one domain. It is the generic cell
//     rate algorithm (GCRA), which is a leaky bucket that needs one instant for each key.
//   - [Shares] ends what goes wrong too often: the recipients of a domain that do not exist.
//   - [Distinct] bounds how many different things a key may name: a client that tries out names.
//
// All are meant for limits of our own making: who meets one answers "unknown", and does not punish
// the peer. Take from a Limiter before work that may be given up, and from Slots right before the
// resource is used.
//
// LIMITS. Memory is bounded: Slots know only keys that somebody holds or waits for, so the caller's
// own bound on concurrent work is theirs; the others keep at most the number of keys they were made
// for, and forget the one that matters least when they are full. None is shared between processes,
// and none survives a restart.
package limit
