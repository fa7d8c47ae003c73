// Package senders counts what each sender sends, keeps senders to limits, and stops those whose
// recipients too often do not exist (the list-hygiene breaker):
//
//	table, err := senders.New(cfg, dir)
//	defer table.Close()
//	if hold := table.Take(id, true, now); hold.Kind != senders.Free {
//		// defer the recipient: 450 4.7.1, hold.Name, "retry in", hold.Wait
//	}
//	table.Checked(id, rcpt.Key(), invalid, now) // when a verdict about the recipient was used
//
// Nothing here refuses for good: who meets a limit or the breaker is deferred, and no mail is lost.
// A nil *Table has no limits, counts nothing and holds nobody.
//
// # Who is who
//
// A sender is its login; without a login it is the client's address together with the sender's
// domain. For senders the breaker works, and for them [Table.Counters] and [Table.List] tell what
// was counted. A limit is kept for each login, sender address, sender domain or client, as its Per
// says. What is not known (no login, the null sender) is in no limit of that kind. Names are taken
// as they are given, but for what is behind the first 320 octets; clients of one network count
// together if the caller gives the network instead of the address.
//
// # Limits
//
// A limit is written in one of two forms:
//
//	200/hour           at most 200 in any hour, in whatever rhythm
//	200/hour burst 20  evenly: one each 18 seconds, and 20 at once after a rest
//
// The units are minute, hour and day. The first form is a sliding window of twelve steps and the
// current one (of 5 seconds, 5 minutes, 2 hours): it never lets more than 200 pass in an hour, and
// what passed counts for an hour at least and for 1/12 longer at most. The second is the generic
// cell rate algorithm; within an hour it may let 200 and, behind a rest, 20 more pass. Messages and
// recipients are counted apart. A message counts with the first of its recipients that passes.
//
// A recipient counts when [Table.Take] lets it pass, also if it is refused afterwards, by a rule or
// as undeliverable: asking is what costs. What Take itself defers does not count, since it comes
// again: a sender that is told to wait would otherwise be kept out by its own retries.
//
// # List hygiene
//
// Each verdict that was used is counted over the last hour and the last day (the same windows). The
// same recipient counts once in each, valid or invalid, however often it is asked for. From 50
// recipients on, a sender's state follows from the share of the invalid ones in either window, not
// as it is seen but as it surely is: the lower bound of the Wilson score interval (one-sided, 95 %;
// 6 invalid of 60 are surely 5.3 %):
//
//	above 4 %   warn      it is told, nothing else happens
//	above 5 %   throttle  one recipient a second
//	above 10 %  hold      nothing but recipients that are known to be good
//
// 100 different invalid recipients within an hour hold as well, whatever the share: this is what a
// stolen account or a bought list looks like. Who sends more than some thousand recipients an hour
// to good lists needs a higher number there.
//
// The numbers are those at which mail services warn and suspend their customers (Amazon SES: 5 and
// 10 %), and of the recipe of exim-users against stolen accounts (100 an hour).
//
// A warning ends, after an hour at the earliest, when the share has fallen. Throttle and hold last
// for an hour. Then 20 recipients pass as a trial (20 more each 10 minutes, as long as fewer
// verdicts came of them). If so many of them are invalid that the share surely is above that of
// throttle, of 20 these are 3, the hour begins again; if not, everything is forgotten and the
// sender is free. A sender that sends nothing for a day is free, too. An administrator ends a state
// by [Table.Release], which forgets what was counted and gives a grace of an hour: what comes is
// counted, but no more than warned about. Then it is judged by that.
//
// # State
//
// With a directory, the windows and states are saved each minute and at Close to "senders.json":
// a line of JSON that says what the file is, and one for each key. What was in the windows is in
// them after a restart, if it is not too old by then. Which recipients were seen is not saved, so a
// restart may count one of them again. Lines that cannot be read are reported and left out, and the
// next save replaces the file; mail goes on. Names that are not UTF-8 are not saved.
//
// # Limits of the package
//
// At most MaxKeys keys are known: each sender, and each login, address, domain and client that is
// in a limit; 100,000 unless configured. A key takes about 600 octets, a sender 400 more for the
// breaker, up to 1 KiB for the recipients that are remembered (128 of them), and 2 KiB if hundreds
// of them are invalid; with a Distinct above 128, 16 to 32 octets for each of it. So 100,000 busy
// senders take 200 MB.
//
// When there are too many keys the least recently active goes, and one that is throttled or held
// only if there are no others. Keys are spread over 64 parts, each of which is full on its own, so
// that this begins a few per cent earlier. Who is not active for 26 hours is forgotten.
//
// A sender without a login can change its domain and its address, and is then another sender. Limits
// by client bound that. The state is that of one process; gates do not share it.
package senders
