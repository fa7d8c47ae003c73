package mxsim

// The words of providers, as they are published or were seen in logs; see the profiles of
// verify/provider for the sources. What a provider's servers do besides is in provider.go.

// Outlook is Outlook.com, Hotmail, Live and MSN.
func Outlook() *Wording {
	w := Microsoft365()
	w.Unknown = "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [{host}]"
	w.Full = "452 4.2.2 Requested mail action aborted: exceeded storage allocation"
	w.Disabled = "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [{host}]"
	w.Busy = "451 4.2.120 Recipient's mailbox receives too many messages, try again later"
	w.BusyHard = "554 5.2.122 The recipient has exceeded their limit for the number of messages " +
		"they can receive per hour"
	return w
}

// Yahoo says "ok" to every recipient; Unknown and the others are what it says after the message.
func Yahoo() *Wording {
	return &Wording{
		Banner:  "220 mtaproxy501.free.mail.gq1.yahoo.com ESMTP ready",
		MailOK:  "250 sender <{from}> ok",
		RcptOK:  "250 recipient <{rcpt}> ok",
		Unknown: "552 1 Requested mail action aborted, mailbox not found",
		Full:    "552 1 Requested mail action aborted, exceeded storage allocation - mailbox full",
		Disabled: "554 30 Sorry, your message to {rcpt} cannot be delivered. This mailbox is " +
			"disabled (554.30)",
		DotOK: "250 ok dirdel",
	}
}

// YahooJapan is alike, in older words.
func YahooJapan() *Wording {
	w := Yahoo()
	w.Banner = "220 mta701.mail.djm.yahoo.co.jp ESMTP YSmtpProxy service ready"
	w.Unknown = "554 delivery error: dd This user doesn't have a {domain} account ({rcpt}) " +
		"[-5] - {host}"
	w.Disabled = "554 delivery error: dd Sorry your message to {rcpt} cannot be delivered. " +
		"This account has been disabled or discontinued [#102]. - {host}"
	return w
}

// ICloud is iCloud, me.com and mac.com.
func ICloud() *Wording {
	w := Postfix()
	w.Banner = "220 {host} iCloud SMTP - ci74p00im-qukt09081901 2026B0"
	w.Unknown = "550 5.1.1 <{rcpt}>: user does not exist"
	w.Disabled = "550 5.1.1 <{rcpt}>: inactive email address"
	w.Full = "552 5.2.2 <{rcpt}>: user is overquota"
	return w
}

// GMX has no enhanced codes. The last line decides: see GMXPolicy.
func GMX() *Wording {
	return &Wording{
		Banner:  "220 gmx.net (mxgmx014) Nemesis ESMTP Service ready",
		Hello:   "250 gmx.net Hello {helo} [{peer}]",
		MailOK:  "250 Requested mail action okay, completed",
		RcptOK:  "250 OK",
		Unknown: "550 Requested action not taken: mailbox unavailable",
		Full: "552 Requested mail action aborted: exceeded storage allocation\nQuota " +
			"exceeded. The recipients mailbox is full.",
		Disabled: "550 Requested action not taken: mailbox unavailable",
		NotOurs:  "550 Requested action not taken: relaying denied",
		DotOK:    "250 Requested mail action okay, completed: id=0{id}",
	}
}

// GMXPolicy is a refusal of us that begins with the words for an unknown user.
const GMXPolicy = "550 Requested action not taken: mailbox unavailable\n" +
	"Reject due to policy restrictions.\n" +
	"For explanation visit https://postmaster.gmx.net/en/case?c=r0104&i=ip&v={peer}"

// WebDE is WEB.DE.
func WebDE() *Wording {
	w := GMX()
	w.Banner = "220 web.de (mxweb012) Nemesis ESMTP Service ready"
	w.Hello = "250 web.de Hello {helo} [{peer}]"
	w.Full = "550 <{rcpt}>: Requested mail action aborted: exceeded storage allocation, Quota " +
		"exceeded"
	return w
}

// IONOS is GMX's sister for hosting.
func IONOS() *Wording {
	w := GMX()
	w.Banner = "220 kundenserver.de (mxeue110) Nemesis ESMTP Service ready"
	w.Hello = "250 kundenserver.de Hello {helo} [{peer}]"
	w.Full = "550 Quota exceeded"
	return w
}

// MailRu accepts every recipient and says this after the message.
func MailRu() *Wording {
	w := Exim()
	w.Banner = "220 Mail.Ru ESMTP"
	w.Hello = "250 {host} ready to serve"
	w.Unknown = "550 Message was not accepted -- invalid mailbox.  Local mailbox {rcpt} is " +
		"unavailable: user not found"
	w.Disabled = "550 Message was not accepted -- invalid mailbox.  Local mailbox {rcpt} is " +
		"unavailable: account is disabled"
	w.Full = "452 Message was not accepted -- Local mailbox {rcpt} is full"
	return w
}

// QQ is QQ Mail and Tencent Exmail.
func QQ() *Wording {
	w := Exim()
	w.Banner = "220 newxmmxszb1-0.qq.com MX QQ Mail Server."
	w.Hello = "250 newxmmxszb1-0.qq.com"
	w.Unknown = "550 Mailbox not found. " +
		"http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000728"
	w.Full = "552 Mailbox space is full"
	return w
}

// NetEase is 163, 126 and yeah.net.
func NetEase() *Wording {
	w := Exim()
	w.Banner = "220 163.com Anti-spam GT for Coremail System (163com[20141201])"
	w.Unknown = "550 User not found: {rcpt}"
	w.Disabled = "550 User suspended: {rcpt}"
	w.Full = "552 Quota exceeded: {rcpt}"
	return w
}

// Zoho is Zoho Mail.
func Zoho() *Wording {
	w := Postfix()
	w.Banner = "220 mx.zohomail.com SMTP Server ready November 24, 2026 12:00:00 AM PST"
	w.Unknown = "550 5.1.1 User unknown"
	w.Disabled = "550 5.2.1 <{rcpt}> Mailbox disabled"
	return w
}

// Mimecast validates recipients for its customer.
func Mimecast() *Wording {
	w := Exim()
	w.Banner = "220 us-smtp-inbound-1.mimecast.com ESMTP; Tue, 24 Nov 2026 03:00:00 -0500"
	w.Hello = "250 us-smtp-inbound-1.mimecast.com Hello [{peer}]"
	w.Unknown = "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 " +
		"[abcDEFghiJKL1234]"
	return w
}

// Proofpoint asks its customer's server.
func Proofpoint() *Wording {
	w := Postfix()
	w.Banner = "220 mx0a-00000000.pphosted.com ESMTP mfa-m0000000"
	w.Unknown = "550 5.1.1 <{rcpt}>: Recipient address rejected: undeliverable address: host " +
		"mail.{domain}[192.0.2.8] said: 550 5.1.1 <{rcpt}>: Recipient address rejected: user unknown"
	return w
}

// ProofpointEssentials says 5.7.1 of unknown users.
func ProofpointEssentials() *Wording {
	w := Postfix()
	w.Banner = "220 mx1-us1.ppe-hosted.com ESMTP"
	w.Unknown = "550 5.7.1 <{rcpt}> User email address is marked as invalid, connection refused"
	return w
}

// Barracuda with "unmanaged users: block".
func Barracuda() *Wording {
	w := Postfix()
	w.Banner = "220 mx-inbound12-123.us-east-2b.ess.aws.cudaops.com ESMTP (7f3b2c)"
	w.Unknown = "550 cuda_nsu 5.1.1 <{rcpt}>... User unknown"
	return w
}

// BarracudaLate is Barracuda that takes unmanaged users and refuses after the message.
func BarracudaLate() *Wording {
	w := Barracuda()
	w.Unknown = "550 permanent failure for one or more recipients ({rcpt}:550 5.1.1 User unknown)"
	return w
}

// Cisco is IronPort in Cisco's cloud.
func Cisco() *Wording {
	w := Postfix()
	w.Banner = "220 esa1.hc1234-56.iphmx.com ESMTP"
	w.MailOK = "250 sender <{from}> ok"
	w.RcptOK = "250 recipient <{rcpt}> ok"
	w.Unknown = "550 #5.1.0 Address rejected."
	return w
}

// TrendMicro is Trend Micro Email Security.
func TrendMicro() *Wording {
	w := Postfix()
	w.Banner = "220 in.tmes.trendmicro.com ESMTP Trend Micro Email Security"
	w.Unknown = "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown"
	return w
}

// Rackspace is Rackspace Email.
func Rackspace() *Wording {
	w := Postfix()
	w.Banner = "220 mx1.emailsrvr.com ESMTP - VA Code Section 18.2-152.3:1 forbids use of this system " +
		"for unsolicited bulk electronic mail (SPAM)"
	w.Unknown = "550 5.1.1 <{rcpt}>: Email address could not be found, or was misspelled (G8)"
	return w
}

// GoDaddy is secureserver.net.
func GoDaddy() *Wording {
	w := Postfix()
	w.Banner = "220 p3plibsmtp03-04.prod.phx3.secureserver.net bizsmtp ESMTP server ready"
	w.Unknown = "550 5.1.1 <{rcpt}> Recipient not found.  " +
		"<https://www.secureserver.net/help/fix-rejected-email-with-a-bounce-error-40685>"
	return w
}

// OVH is OVHcloud.
func OVH() *Wording {
	w := Postfix()
	w.Banner = "220 mx1.mail.ovh.net ESMTP"
	w.Unknown = "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown"
	return w
}

// Orange says 5.1.1 of a full mailbox, too; the basic code and the words decide.
func Orange() *Wording {
	w := Postfix()
	w.Banner = "220 mwinf5c38 ME ESMTP server ready"
	w.Unknown = "550 5.1.1 <{rcpt}> Adresse d au moins un destinataire invalide. Invalid " +
		"recipient. OFR_416 [416]"
	w.Full = "552 5.1.1 <{rcpt}> Boite du destinataire pleine. Recipient overquota. OFR_417 [417]"
	return w
}

// Comcast says 4.1.1 of a mailbox that exists.
func Comcast() *Wording {
	w := Postfix()
	w.Banner = "220 resimta-po-01v.sys.comcast.net resimta-po-01v.sys.comcast.net comcast " +
		"ESMTP server ready"
	w.Unknown = "550 5.1.1 <{rcpt}> recipient mailbox unallocated"
	w.Busy = "452 4.1.1 <{rcpt}> too many recent messages"
	return w
}

// TOnline is Deutsche Telekom's.
func TOnline() *Wording {
	w := Postfix()
	w.Banner = "220 mailin12.aul.t-online.de T-Online ESMTP receiver fssmtpd2025 ready."
	w.Unknown = "550 5.1.1 user unknown"
	w.Full = "552 5.2.2 Over STORAGE quota"
	return w
}

// Fastmail is Postfix in front of Cyrus.
func Fastmail() *Wording {
	w := Postfix()
	w.Banner = "220 mx3.messagingengine.com ESMTP . No UCE permitted."
	w.Unknown = "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown"
	return w
}

// Proton is Proton Mail.
func Proton() *Wording {
	w := Postfix()
	w.Banner = "220 mailin029.protonmail.ch ESMTP Postfix"
	w.Unknown = "550 5.1.1 <{rcpt}>: Recipient address rejected: Address does not exist"
	return w
}

// AmazonSES is SES's receiving end.
func AmazonSES() *Wording {
	w := Postfix()
	w.Banner = "220 inbound-smtp.eu-west-1.amazonaws.com ESMTP SimpleEmailService-d-ABCDEFGH " +
		"abcdefghijkl"
	w.Unknown = "550 5.1.1 Requested action not taken: mailbox unavailable"
	return w
}

// ExchangeServer accepts everybody and says this after the message.
func ExchangeServer() *Wording {
	w := Microsoft365()
	w.Unknown = "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {rcpt} not found by SMTP " +
		"address lookup"
	w.Full = "554 5.2.2 mailbox full; STOREDRV.Deliver; Quota exceeded"
	return w
}

// OpenSMTPD is OpenBSD's.
func OpenSMTPD() *Wording {
	w := Postfix()
	w.Banner = "220 {host} ESMTP OpenSMTPD"
	w.MailOK = "250 2.0.0: Ok"
	w.RcptOK = "250 2.1.5 Destination address valid: Recipient ok"
	w.Unknown = "550 Invalid recipient: <{rcpt}>"
	return w
}

func zerospam() *Wording {
	w := Postfix()
	w.Banner = "220 mx1.zerospam.ca ESMTP ZEROSPAM"
	w.Unknown = "554 5.7.1 <{rcpt}>: Recipient address rejected: Not in recipient list"
	return w
}
