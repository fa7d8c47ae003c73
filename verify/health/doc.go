// Package health looks at the addresses that probes leave from as mail servers do.
//
// A host whose names do not fit together, or that a block list has, gets refusals that say nothing
// of the recipients, however well it asks. An administrator wants to hear of that from his own
// machine, in plain words, before the mail does.
//
// # Use
//
//	m := health.New(health.Config{DNS: resolver, Helo: "gate.example.com", Addrs: egress})
//	go m.Run(ctx)
//	for _, f := range m.Report() { … }
//
// Run looks when it begins and then every hour, a little earlier or later. Each [Finding] is logged
// once when it begins and once when it is over, and Report has those of now. Check looks at once.
//
// # What is looked at
//
//   - The EHLO name: a full host name that leads to the address (RFC 5321 section 4.1.4).
//   - Reverse DNS: the address has a PTR record, and that name leads back to it (forward-confirmed;
//     Google and others require it for IPv4 and IPv6). A name that is made of the address looks
//     like a dial-up line's. It should be the EHLO name.
//   - DNS block lists (RFC 5782), if Config.Zones names some.
//   - Outgoing port 25, and providers that refuse this host: what the verifier has learned, by the
//     functions of the configuration.
//
// # Block lists
//
// None is asked by default: their operators have terms. Spamhaus gives answers free of charge only
// to low-volume, non-commercial users with a resolver of their own (zen.spamhaus.org); others get a
// key (KEY.zen.dq.spamhaus.net). A query is made for each address and zone in an hour, and two to
// test the zone.
//
// An answer is believed only from a zone that passes the test of RFC 5782 section 5 through this
// very resolver: 127.0.0.2 is listed, 127.0.0.1 is not (for IPv6 ::FFFF:7F00:2 and ::FFFF:7F00:1).
// Through a public resolver, Spamhaus answers 127.255.255.254 to everything, which is no listing,
// and a list that was given up may list the whole world. A zone that does not list the IPv6 test
// entry has no IPv6 addresses and is not asked for any.
//
// # What it does not know
//
// Behind NAT, the address that the world sees is not known here: Config.Public tells it. Without,
// the addresses of the EHLO name are looked at in its place, and a finding says so. A question that
// DNS could not answer is no finding about the address: an earlier one stays until it is answered,
// and a notice says that it could not be asked.
package health
