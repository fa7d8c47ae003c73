// Package bulk checks a whole list of addresses: it reads the list, has each different address asked
// about once, keeps a journal of the answers, and writes the list again with the verdicts.
//
//	list, err := bulk.Open(input, bulk.ListOptions{})
//	defer list.Close()
//	run, err := bulk.Start(list, bulk.Config{Ask: asker, Journal: "out.csv.rcptgate-check", ...})
//	defer run.Close()
//	err = run.Run(ctx)              // nil: every address has its answer
//	err = run.Write(out, bulk.CSV)  // the rows of the input, in order
//	err = run.Remove()              // the journal
//
// # The list
//
// CSV as in RFC 4180, with commas, semicolons, tabs or bars, or one address a line; UTF-8, with or
// without a byte order mark, LF or CRLF. A quote within a field that does not begin with one is a
// character like others. Rows go to the output octet for octet as they came, with the new
// columns behind them; rows shorter than others are filled up first. Empty lines are left out. The
// column of addresses and a header are found from the first 256 KiB, or named.
//
// # The order
//
// Domains take turns, and so do the mail sites behind them (the same mail hosts, or one provider):
// at most 4 questions are under way at one of them, of 64 in all, and none is asked faster than its
// profile says. Whom one of our own limits or a pause of the site kept from being asked waits for its
// turn. A site that lets nobody pass for Config.Patience is given up: the rest of its addresses
// are unknown, local_limit.
//
// Greylisted addresses are asked again when their server may have had enough, until Patience has
// passed since the first answer. Others that are unknown, for a reason that may pass, are asked
// once more when all the rest is done.
//
// This is no tool to find out which addresses a domain has. Of a domain where surely more than 30 %
// of at least 20 mailboxes do not exist (limit.LowerBound) nobody else is asked: the rest is
// unknown, local_limit.
//
// # The journal
//
// What is about to be asked is on disk before it is asked, and an answer before it counts. So a run
// that was killed goes on where it was. A question that was under way at that moment has no answer,
// and whether its mail server saw it nobody knows: it is not asked again, and its answer is unknown,
// [Interrupted]; unless Config.AskLost says that asking twice is better than not knowing. A run
// that is stopped in peace leaves no such questions, if they end within Config.Grace.
//
// The journal has no addresses in it, only their numbers in the list; it is bound to the octets of
// the list and to Config.Options by its first line. Every line has a checksum. A torn end is cut
// off; damage further up is an error. One process at a time may use it.
//
// # Limits
//
// A list has at most 2 million rows of 1 MiB. Memory is about 300 octets for each different address
// (its text, its answer, its place in the turns) and about 300 for each domain.
package bulk
