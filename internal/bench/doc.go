// Package bench measures an SMTP proxy, and shakes it. It has the ends that a measurement needs,
// and none of the proxy's own code, so that both cannot share a fault:
//
//   - [Load] is a client: so many sessions that send mail of one kind for a while. Its cost for a
//     message is that of Postfix's smtp-source.
//   - [Sink] is a server behind the proxy that takes everything and keeps nothing.
//   - [Splice] is the yardstick: a TCP proxy that looks at nothing and lets the kernel move the
//     octets (splice(2) on Linux). [Echo] is the floor of a round trip.
//   - [Matrix] runs several targets on the same kinds of work, in turns, and takes medians.
//   - [Hold] opens connections, or messages that stop half way, to see what they cost in memory.
//   - [Soak] sends through faults and restarts, and its [Ledger] compares what clients were told
//     with what arrived.
//   - [Tree] reads CPU time, memory and descriptors of a process and its children from /proc.
//
// Every server and the generator should be processes of their own (the command rcptgate bench
// starts them so): only then can CPU time be told apart.
//
// How to read the results: all ends share one machine, so absolute rates say little. Only ratios
// between targets of one run count, and of these the CPU ratio is the steadiest. Ratios are taken
// in each round and then the median over rounds, because load from outside changes with time.
//
// Limits: plaintext only. The replies of a target are read leniently (code and continuation mark).
// CPU time has the resolution of the kernel's clock tick, 10 ms.
package bench
