package mxsim

// What providers say of us: of our address, our rate, our sender. None of it tells anything about a
// mailbox, though some of it sounds so.
const (
	outlookNoNull = "550 5.7.1 Unfortunately, messages from [{peer}] with an empty sender " +
		"weren't sent. Please use a sender that receives mail. [{host}]"
	outlookSecond = "452 4.5.3 Too many recipients (AS780090) [{host}]"
	outlookSlower = "451 4.7.650 The mail server [{peer}] has been temporarily rate limited " +
		"due to IP reputation. For e-mail delivery information, see " +
		"https://postmaster.live.com (S775) [{host}]"
	outlookBlocked = "550 5.7.1 Unfortunately, messages from [{peer}] weren't sent. Please " +
		"contact your Internet service provider since part of their network is on our block " +
		"list (S3150). You can also refer your provider to " +
		"http://mail.live.com/mail/troubleshooting.aspx#errors. [{host}]"
	yahooSlower = "421 4.7.0 [TSS04] Messages from {peer} temporarily deferred due to " +
		"unexpected volume or user complaints - 4.16.55.1; see " +
		"https://postmaster.yahooinc.com/error-codes"
	googleSlower = "421 4.7.28 Our system has detected an unusual rate of unsolicited mail " +
		"originating from your IP address [{peer}]. To protect our users from spam, mail sent " +
		"from your IP address has been temporarily rate limited. " +
		"https://support.google.com/mail/?p=UnsolicitedRateLimitError a1 - gsmtp"
	microsoftBusy = "451 4.7.500 Server busy. Please try again later from [{peer}]. (S77719) " +
		"[{host}]"
	gmxHarvest = "421 {host} Nemesis ESMTP Service not available\nReject due to policy " +
		"violations"
	gmxListed = "554 gmx.net (mxgmx014) Nemesis ESMTP Service not available\nNo SMTP " +
		"service\nIP address is block listed.\nFor explanation visit " +
		"https://postmaster.gmx.net/en/case?c=r0107&i=ip&v={peer}"
	gmxHelo = "450 Requested mail action not taken: mailbox unavailable\nReject due to " +
		"policy violations"
	qqFrequency = "550 Ip frequency limited [abcDEF {peer}]. " +
		"http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000725"
	neteaseLimit  = "550 RP:ORQ 163 smtp12 {peer} http://mail.163.com/help/help_spam_16.htm"
	mimecastLater = "451 Internal resources are temporarily unavailable - " +
		"https://community.mimecast.com/docs/DOC-1369#451 [abcDEF]"
	barracudaLater = "451 4.7.1 <{rcpt}>: Recipient address rejected: Greylisted for 5 minutes"
	zerospamLater  = "450 4.2.0 <{rcpt}>: Recipient address rejected: {domain} greylisted for " +
		"60 seconds by ZEROSPAM"
	ironportHarv = "550 Too many invalid recipients"
	ersDUL       = "550 5.7.1 <{rcpt}>: Recipient address rejected: Mail from <{peer}> was " +
		"refused due to the sender IP found in ERS-DUL"
	godaddyLimit = "550 5.1.1 <{rcpt}> {peer} has sent to too many recipients this hour. " +
		"IB607 <https://www.secureserver.net/help/fix-rejected-email-with-a-bounce-error-40685>"
	orangeFull = "421 mwinf5c38 ME Trop de connexions, veuillez verifier votre " +
		"configuration. Too many connections, slow down. OFR004_104 [104]"
	harvested = "554 5.7.1 {host} You have been blocked: too many unknown recipients from " +
		"{peer}"
)

// ERSDUL is Trend Micro's refusal of our address, in the words of a refusal of the recipient; use it
// with Refuse at Rcpt.
const ERSDUL = ersDUL

// GMXListed is GMX's greeting for an address that is on a block list; use it with Refuse at Connect.
const GMXListed = gmxListed
