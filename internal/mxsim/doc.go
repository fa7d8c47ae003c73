// Package mxsim is a simulated internet for mail: DNS and MX servers that behave like the real
// ones, with a mailbox table as the truth to compare against. Tests, the demo and the benchmarks
// run the whole program against it; nothing ever leaves the process or the loopback interface.
//
// A [World] holds sites. A [Site] is one or more mail domains, the hosts that receive their mail,
// and what is true of each mailbox. How a site talks is a [Wording] (the standard replies of
// Postfix, Exim, Gmail, ...) and a list of [Behaviour] functions that are asked first, in order,
// at every step of every conversation:
//
//	w := mxsim.New(mxsim.Config{})
//	defer w.Close()
//	w.Add(&mxsim.Site{
//		Domains:    []string{"example.com"},
//		Hosts:      []*mxsim.Host{{Name: "mx.example.com", Pref: 10}},
//		Mailboxes:  map[string]mxsim.Mailbox{"anna": mxsim.Active},
//		Behaviours: []mxsim.Behaviour{mxsim.Greylist(5 * time.Minute)},
//	})
//
// There are two ways in.
//
// [World.DialContext] has the shape of net.Dialer.DialContext and connects through memory. It is
// made for testing/synctest: hours of greylisting and tarpits run in milliseconds, on the fake
// clock. Create the World inside the bubble and Close it there. Port 53 of every address is the
// DNS server (with TCP framing for "udp" too, and truncation only for "udp"); an address of a host
// is that host, at every other port. Hosts get public-looking addresses of 5.0.0.0/8, each site
// its own network, because special-purpose addresses are what a prober must refuse.
//
// [World.Listen] opens real sockets on 127.0.0.0/8: one DNS server (UDP and TCP) and every host
// at an address of its own, all at one port. Set Config.Loopback so that addresses fit.
//
// What happened is on record: [Host.Record] has each connection with its commands, times, replies
// and its end, [Host.Messages] the mail that was accepted, [World.Queries] the DNS queries.
// [World.Truth] says what the right answer for an address would have been.
//
// [Providers] are the real ones, each with the names of its MX hosts, its words and its habits;
// [Provider.Site] makes a site of one, under its real names, behind a customer's names, or fully
// disguised. Several sites may have the same hosts, as the customers of one provider do:
//
//	google, _ := mxsim.ProviderNamed("google")
//	one := google.Site("gmail.com", mxsim.Plain, mailboxes)
//	two := google.Site("example.com", mxsim.Plain, others, one.Hosts...)
//
// Habits that a test wants to look into are values: [Guard] blocks harvesters for good, [Wave] is an
// incident that is switched on and off, [RateLimit] counts.
//
// [Relay] is the other side of a gate: an SMTP sink that keeps envelope and body octet by octet,
// with the same behaviours as faults. With [Relay.Deliver] it really delivers what it took to the
// hosts of a World, with retries, and leaves the log that a Postfix would. [Listener] is a listener in memory for the gate itself.
//
// Limits: the servers are deliberately simple and tolerant; they are written without the
// project's own SMTP code, so that both cannot share a fault. A command line is cut off at
// 64 KiB, a message at Host.MaxMessage octets. Addresses are unique for the first 61440 sites, with
// up to 254 hosts each. Records are kept for the life of the World.
package mxsim
