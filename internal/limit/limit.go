// Package limit holds the two limits that the gate puts on itself, each kept apart for every key
// (a mail host's address, a recipient domain, a client):
//
//   - [Slots] bounds how many things happen at the same time: connections to one mail host.
//   - [Limiter] bounds how often something happens: probes of one domain. It is the generic cell
//     rate algorithm (GCRA), which is a leaky bucket that needs one instant for each key.
//
// Both are meant for limits of our own making: who meets one answers "unknown", and does not punish
// the peer. Take from a Limiter before work that may be given up, and from Slots right before the
// resource is used.
//
// LIMITS. Memory is bounded: Slots know only keys that somebody holds or waits for, so the caller's
// own bound on concurrent work is theirs; a Limiter keeps at most the number of keys it was made
// for and, when full, forgets the key that is closest to being whole again. Neither is shared
// between processes, and neither survives a restart.
package limit
