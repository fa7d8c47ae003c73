// Package register keeps what people decided, or mail servers proved, about recipients: the
// suppression list, of those that get no more mail, and the overrides, of those that get theirs
// whatever is believed about them. It keeps state and has no rules: package policy asks it.
//
//	reg, err := register.Open(dir, register.Config{LearnBounces: true, Log: log})
//	defer reg.Close()
//	if s, ok := reg.Suppressed(rcpt, sender, login, time.Now()); ok { ... refuse as s says ... }
//
// # Suppressions
//
// A suppression is for a mailbox, for a domain ("*@example.com", without its subdomains) or for the
// subdomains of one ("*@*.example.com", without itself), and holds for everybody's mail, for that
// of one sender domain or for that of one login. It lasts for good or until a time. A mailbox whose
// local part is "*" cannot be told from its domain.
//
// What somebody decided (complaint, unsubscribe, manual, import) holds for every spelling of a
// local part in ASCII upper and lower case: who unsubscribes as bob@example.com does not want mail
// as Bob@example.com. What a server proved (hard_bounce) holds for that exact local part only: RFC
// 5321 section 2.4 leaves it to the receiving host whether Bob is bob.
//
// The list learns, where Config lets it, from hard bounces of real deliveries and from complaints,
// and from nothing else; a reply about our reputation (5.7.x) is never a hard bounce, whoever says
// so. See Bounced, Complained and Delivered.
//
// # Overrides
//
// An override allows a mailbox, a domain ("example.com" itself, ".example.com" its subdomains) or a
// provider, for 7 days if it does not say. It does not touch what it overrides. That of a provider
// is about what its servers say, and not about the suppression list: who looks that up asks
// [Register.Allowed] before, and [Register.AllowedProvider] only before it believes a verdict.
//
// # Files
//
// The directory has, in UTF-8, one entry a line, its fields between tabs:
//
//	suppressions.tsv              the list, as of some time
//	suppressions.changes.tsv      what changed since, in order
//	suppressions.old-changes.tsv  while the list is written anew: what changed before that
//	overrides.tsv                 the overrides
//
// The first line is the version; lines that begin with "#" are comments. A change by hand is on the
// disk (fsync) before it is made in memory, an import every 10,000 rows, what was learned within
// seconds. What the disk does not take is not made, and not half of it; only what was learned holds
// in memory meanwhile, up to 10,000 addresses. Look-ups wait for none of that. Once the changes are
// 10,000, and half of the list, the list is written anew, beside the work.
//
// A last line without its end, which a crash leaves, is dropped. Any other line that cannot be read
// is logged with its number and left out; the file it stood in is first copied to NAME.damaged, to
// be repaired and, as CSV, imported. A file of a later version is an error of Open, and is not
// touched.
//
// The files are to be changed by hand only while the gate does not run.
//
// # CSV
//
// ExportCSV writes, and ImportCSV reads, with or without a header line
//
//	address,reason,scope,expires,evidence,source,created,reply,bounces
//
// with times as 2026-12-31T00:00:00Z or "never", scopes as Scope.String, replies as "550 5.1.1".
// Only the address is needed. With a header line the columns may come in any order, under other
// names too, and others are passed over, so that lists of other programs can be read as they are:
//
//	SES        EmailAddress,Reason,LastUpdateTime, or address,BOUNCE without a header
//	SendGrid   status,reason,email,created (bounces), email,created (unsubscribes), ...
//	Postmark   EmailAddress,SuppressionReason,Origin,CreatedAt
//	Mailgun    address,code,error,created_at; address,tags,created_at: only rows for all tags
//	SparkPost  email,reason,detail,created_at,expires_at
//	listmonk   uuid,email,name,attributes,status,...: only those that are blocklisted
//
// Where the file does not say why (a list of spam reports with addresses only),
// ImportOptions.Reason does. Rows of soft bounces, and of people who only are subscribers, are
// skipped. A row whose reply is no proof of a missing mailbox, as in SendGrid's list of blocks,
// fails. Cells stand between commas, or between semicolons or tabs if the first line has no comma.
// Nothing guards against spreadsheets that take cells for formulas.
//
// # Limits
//
// An entry takes some 130 octets of memory and its text: the address, its evidence (at most 256
// octets), and the scope's name. A million addresses of 25 octets are about 160 MB; the default
// limit of 5 million entries, all with the longest texts there can be, is 4.5 GB. A million load in
// one or two seconds.
package register
