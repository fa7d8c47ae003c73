package feedback

import "testing"

// BenchmarkLine reads lines of a log one by one. The project wants 200,000 lines a second or more,
// and those of other programs to cost next to nothing.
func BenchmarkLine(b *testing.B) {
	const relay = "relay=aspmx.l.google.com[192.0.2.26]:25, delay=1.3, delays=0.02/0.01/0.6/0.67, "
	for _, bench := range []struct{ name, line string }{
		{"sent", prefix + "to=<anna.schmidt@example.com>, " + relay + "dsn=2.0.0, status=sent " +
			"(250 2.0.0 OK  1795518000 4fb4d7f45d1cf-5f2a8c4d2e1si12345678a12.345 - gsmtp)"},
		{"bounced", prefix + "to=<anna.schmidt@example.com>, " + relay + "dsn=5.1.1, status=bounced " +
			"(host aspmx.l.google.com[192.0.2.26] said: 550-5.1.1 The email account that you tried to reach " +
			"does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or " +
			"550-5.1.1 unnecessary spaces. For more information, go to 550 5.1.1  " +
			"https://support.google.com/mail/?p=NoSuchUser 4fb4d7f45d1cf-5f2 - gsmtp (in reply to RCPT TO command))"},
		{"internal", prefix + "to=<anna.schmidt@example.com>, relay=127.0.0.1[127.0.0.1]:10024, delay=1.3, " +
			"delays=0.02/0.01/0.6/0.67, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): " +
			"250 2.0.0 Ok: queued as 4jYgQW081cz1V6rF)"},
		{"qmgr", "Nov 24 11:00:00 mail postfix/qmgr[77]: 4jYgQW081cz1V6rF: from=<bob@example.org>, size=12345, " +
			"nrcpt=1 (queue active)"},
		{"other", "Nov 24 11:00:00 mail postfix/smtpd[1234]: NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 554 " +
			"5.7.1 <a@example.com>: Relay access denied; from=<x@example.net> to=<a@example.com> proto=ESMTP"},
		{"ISO other", "2026-11-24T11:00:00.123456+00:00 mail dovecot: imap-login: Login: user=<anna>, " +
			"method=PLAIN, rip=192.0.2.1, lip=192.0.2.2, mpid=123, TLS, session=<x>"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p := newParser(b, Config{})
			line := []byte(bench.line)
			b.ReportAllocs()
			for b.Loop() {
				p.Line(line)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
