package register_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/policy/register"
)

func importCSV(tb testing.TB, r *register.Register, text string, opts register.ImportOptions) (
	register.ImportReport, error,
) {
	tb.Helper()
	return r.ImportCSV(iotest.HalfReader(strings.NewReader(text)), opts)
}

// TestImportFormats: lists as other programs write them. Each line of want is
// "address reason reply created evidence"; skipped and failed count the other rows.
func TestImportFormats(t *testing.T) {
	for _, tt := range []struct {
		name, text      string
		opts            register.ImportOptions
		want            []string
		skipped, failed int
		unknown         string
	}{
		{
			name: "addresses",
			text: "bob@example.com\n\n<Ann@Example.COM>\r\n mailto:eve@example.com \n*@example.org",
			want: []string{
				"*@example.org import  now ", "ann@example.com import  now ", "bob@example.com import  now ",
				"eve@example.com import  now ",
			},
		},
		{
			name: "ours without a header",
			text: "bob@example.com,complaint,login:alice,2999-01-01T00:00:00Z,why,me,2026-01-02T03:04:05Z,,0\n",
			want: []string{"bob@example.com complaint  2026-01-02T03:04:05Z why"},
		},
		{
			name: "SES without a header",
			text: "bob@example.com,BOUNCE\nann@example.com,COMPLAINT\n",
			want: []string{"ann@example.com complaint  now ", "bob@example.com hard_bounce  now "},
		},
		{
			name: "SES",
			text: "EmailAddress,Reason,LastUpdateTime\nbob@example.com,BOUNCE,2026-01-02T03:04:05.123000+01:00\n",
			want: []string{"bob@example.com hard_bounce  2026-01-02T02:04:05Z "},
		},
		{
			name: "SendGrid bounces",
			text: "status,reason,email,created\n" +
				`5.1.1,"550 5.1.1 The email account, that you ""tried"" to reach",bob@example.com,1767323045` + "\n" +
				"4.2.2,452 4.2.2 full,full@example.com,1767323045\n" +
				`5.0.0,"550 no such user` + "\n" + `go away",two@example.com,1767323045` + "\n",
			want: []string{
				`bob@example.com hard_bounce 550 5.1.1 2026-01-02T03:04:05Z 550 5.1.1 The email account, that you "tried" to reach`,
				`two@example.com hard_bounce 550 5.0.0 2026-01-02T03:04:05Z 550 no such user\x0ago away`,
			},
			skipped: 1,
		},
		{
			name: "SendGrid blocks",
			text: "status,reason,email,created\n" +
				"5.7.1,550 5.7.1 very low reputation,bob@example.com,1767323045\n" +
				"5.7.1,blocked for spam,ann@example.com,1767323045\n",
			failed: 2,
		},
		{
			name: "SendGrid invalid addresses",
			text: "reason,email,created\nMail domain mentioned in email address is unknown,bob@example.com,1767323045\n",
			want: []string{
				"bob@example.com import  2026-01-02T03:04:05Z Mail domain mentioned in email address is unknown",
			},
		},
		{
			name: "SendGrid spam reports", opts: register.ImportOptions{Reason: register.Complaint},
			text:    "ip,email,created\n192.0.2.1,bob@example.com,1767323045\n",
			want:    []string{"bob@example.com complaint  2026-01-02T03:04:05Z "},
			unknown: "ip",
		},
		{
			name: "Postmark",
			text: "EmailAddress,SuppressionReason,Origin,CreatedAt\n" +
				"bob@example.com,HardBounce,Recipient,2026-01-02T03:04:05-05:00\n" +
				"ann@example.com,SpamComplaint,Recipient,2026-01-02T03:04:05Z\n" +
				"eve@example.com,ManualSuppression,Customer,2026-01-02T03:04:05Z\n",
			want: []string{
				"ann@example.com complaint  2026-01-02T03:04:05Z ",
				"bob@example.com hard_bounce  2026-01-02T08:04:05Z ",
				"eve@example.com manual  2026-01-02T03:04:05Z ",
			},
		},
		{
			name: "Mailgun bounces",
			text: "address,code,error,created_at\n" +
				`bob@example.com,550,"5.1.1 no, never","Fri, 02 Jan 2026 03:04:05 UTC"` + "\n" +
				`ann@example.com,550,"550 5.1.1 no","Mon, 01 Jan 0001 00:00:00 UTC"` + "\n" +
				`old@example.com,605,Not delivering to previously bounced address,"Fri, 02 Jan 2026 03:04:05 UTC"` + "\n" +
				`rep@example.com,550,550 5.7.1 reputation,` + "\n" +
				`full@example.com,452,,` + "\n",
			want: []string{
				"ann@example.com hard_bounce 550 5.1.1 now 550 5.1.1 no",
				"bob@example.com hard_bounce 550 2026-01-02T03:04:05Z 5.1.1 no, never",
				"old@example.com import  2026-01-02T03:04:05Z Not delivering to previously bounced address",
			},
			skipped: 1, failed: 1,
		},
		{
			name: "Mailgun unsubscriptions", opts: register.ImportOptions{Reason: register.Unsubscribe},
			text: "address,tags,created_at\nbob@example.com,*,\nann@example.com,news,\neve@example.com,,\n" +
				`joe@example.com,"[""*""]",` + "\n",
			want: []string{
				"bob@example.com unsubscribe  now ", "eve@example.com unsubscribe  now ",
				"joe@example.com unsubscribe  now ",
			},
			skipped: 1,
		},
		{
			name: "SparkPost",
			text: "email,reason,detail,created_at,expires_at,last_event_at,expires_at,subaccount\n" +
				`a@EXAMPLE.com,soft-bounce,,"2015-11-03 10:22:19.9567","2015-11-04 10:22:19",,,` + "\n" +
				`b@example.COM,hard-bounce,"SMTP; 550 5.4.1 [b@EXAMPLE.COM]: Access denied","2016-01-14 19:08:17.5","2999-01-01 00:00:00",,,` + "\n" +
				`c@example.com,unsub,,"2016-01-14 19:08:17","2016-01-28 19:44:39",,,` + "\n",
			want: []string{
				"b@example.com hard_bounce 550 5.4.1 2016-01-14T19:08:17Z SMTP; 550 5.4.1 [b@EXAMPLE.COM]: Access denied",
			},
			skipped: 2, unknown: "last_event_at expires_at subaccount",
		},
		{
			name: "listmonk",
			text: "uuid,email,name,attributes,status,created_at,updated_at\n" +
				`1,bob@example.com,Bob,"{""a"": [1, 2]}",enabled,2026-01-02 03:04:05.67 +0000 UTC,` + "\n" +
				`2,ann@example.com,"Ann, B.",{},blocklisted,2026-01-02 03:04:05.67 +0000 UTC,` + "\n" +
				`3,eve@example.com,,{},something,,` + "\n",
			want:    []string{"ann@example.com manual  2026-01-02T03:04:05Z "},
			skipped: 1, failed: 1, unknown: "uuid name attributes updated_at",
		},
		{
			name: "words that begin with a number",
			text: "email,reason,detail\nbob@example.com,manual,450 letters from him\n" +
				"ann@example.com,hard_bounce,450 4.2.2 full\n",
			want:    []string{"bob@example.com manual  now 450 letters from him"},
			skipped: 1,
		},
		{
			name: "a spreadsheet in Germany",
			text: "\ufeffE-Mail;Reason;\r\nbob@example.com;hard bounce;\r\nann@example.com;\"spam\";\r\n",
			want: []string{"ann@example.com complaint  now ", "bob@example.com hard_bounce  now "}, unknown: "",
		},
		{
			name:   "tabs, and bad rows",
			text:   "email\treason\nbob@example.com\tmanual\nnonsense\t\nann@example.com\tspite\neve@example.com\t\"x\ny\tz\n",
			want:   []string{"bob@example.com manual  now "},
			failed: 4,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := memory(t, register.Config{})
			start := time.Now()
			report, err := importCSV(t, r, tt.text, tt.opts)
			if err != nil || report.Skipped != tt.skipped || report.Failed != tt.failed ||
				report.Added != len(tt.want) || report.Rows != len(tt.want)+tt.skipped+tt.failed ||
				len(report.Problems) != tt.skipped+tt.failed {
				t.Errorf("%+v, %v", report, err)
			}
			if got := strings.TrimSpace(strings.Join(report.Unknown, " ")); got != tt.unknown {
				t.Errorf("unknown columns %q, want %q", got, tt.unknown)
			}
			var got []string
			list, _, err := r.List(register.Filter{}, 0, 100)
			for _, s := range list {
				created := "now"
				if s.Created.Before(start.Truncate(time.Second)) {
					created = s.Created.Format(time.RFC3339)
				}
				reply := ""
				if s.Code != 0 {
					reply = strings.TrimSpace(fmt.Sprint(s.Code, " ", s.Enhanced))
				}
				got = append(got, fmt.Sprint(s.Address, " ", s.Reason, " ", reply, " ", created, " ", s.Evidence))
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestImportReport: what a bad file is told.
func TestImportReport(t *testing.T) {
	const text = `address,reason,note,address,expires
bob@example.com,manual
"quoted "" and
broken over lines"@example.com,manual
ann@example.com,manual,,,2026-13-01
eve@example.com,manual,,,2020-01-01T00:00:00Z
joe@example.com,manual,,,,,too,many
"open,manual
x y@example.com
last@example.com,manual
`
	r := memory(t, register.Config{})
	report, err := importCSV(t, r, text, register.ImportOptions{})
	if err != nil || report.Added != 2 || report.Skipped != 1 || report.Failed != 6 {
		t.Errorf("%+v, %v", report, err)
	}
	if !slices.Equal(report.Unknown, []string{"note", "address"}) {
		t.Errorf("unknown: %q", report.Unknown)
	}
	want := []string{
		`line 3: a closing quote is followed`,
		`line 4: address: "broken over lines\"@example.com": `,
		`line 5: expires: "2026-13-01" is no time`,
		`line 6: it has expired`,
		`line 7: it has more cells`,
		`line 8: a quote is not closed`,
		`line 9: address: "x y@example.com"`,
	}
	for i, problem := range report.Problems {
		// What is quoted in an error is escaped, but a quote stands as it is.
		got := strings.ReplaceAll(problem.Error(), `lines"@`, `lines\"@`)
		if i >= len(want) || !strings.HasPrefix(got, want[i]) {
			t.Errorf("problem %d: %s", i, got)
		}
	}
	wantAddresses(t, r, "bob@example.com", "last@example.com")
}

func TestImportRefuses(t *testing.T) {
	r := memory(t, register.Config{})
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		in   io.Reader
		want string
	}{
		"no address column": {strings.NewReader("name,reason\nBob,manual\n"), `name one "address"`},
		"UTF-16":            {strings.NewReader("\xff\xfeb\x00o\x00b\x00"), "UTF-8"},
		"broken at once":    {iotest.ErrReader(broken), "broken"},
		"broken later": {
			io.MultiReader(strings.NewReader("name\n"+strings.Repeat("x", 1<<20)), iotest.ErrReader(broken)),
			`name one "address"`,
		},
	} {
		report, err := r.ImportCSV(tt.in, register.ImportOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || report.Added != 0 {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	// What was read before it broke is not lost, but in a batch that was not complete.
	in := io.MultiReader(strings.NewReader(strings.Repeat("a@example.com\n", 25_000)),
		iotest.ErrReader(broken))
	report, err := r.ImportCSV(in, register.ImportOptions{})
	if !errors.Is(err, broken) || report.Added != 1 || report.Replaced == 0 {
		t.Errorf("%+v, %v", report, err)
	}
	// Nor does a quote that is never closed take the rest of the file with it, or all memory.
	in = strings.NewReader("\"b@example.com\n" + strings.Repeat("c@example.com,manual\n", 50_000))
	report, err = r.ImportCSV(in, register.ImportOptions{})
	if err != nil || report.Failed != 1 || report.Rows != 50_001 || len(report.Problems) != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	in = strings.NewReader("d@example.com," + strings.Repeat("x", 1<<20) + "\ne@example.com\n" +
		strings.Repeat(",", 1000) + "\nf@example.com\n" + strings.Repeat("y", 1<<20))
	report, err = r.ImportCSV(in, register.ImportOptions{})
	if err != nil || report.Failed != 3 || report.Added != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err = r.ImportCSV(strings.NewReader(""), register.ImportOptions{}); err != nil {
		t.Error(err)
	}
	for i := range 300 {
		in = strings.NewReader("a@example.com\n" + strings.Repeat("bad\n", i))
		if report, err = r.ImportCSV(in, register.ImportOptions{}); len(report.Problems) != min(i, 100) {
			t.Fatalf("%d problems of %d, %v", len(report.Problems), i, err)
		}
	}
}

func TestImportStrictAndKeep(t *testing.T) {
	r := memory(t, register.Config{})
	suppress(t, r, register.Suppression{Address: "a@example.com", Evidence: "by hand"})
	report, err := importCSV(t, r, "b@example.com\nbad\nc@example.com\n",
		register.ImportOptions{Strict: true})
	if err == nil || !strings.Contains(err.Error(), "line 2") || report.Failed != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, ok := errors.AsType[register.LineError](err); !ok {
		t.Errorf("%#v", err)
	}
	wantAddresses(t, r, "a@example.com")
	opts := register.ImportOptions{
		Strict: true, Keep: true, Reason: register.Unsubscribe, Source: "crm",
		Scope: register.Scope{}, Expires: time.Now().Add(time.Hour),
	}
	report, err = importCSV(t, r, "a@example.com\nb@example.com\nb@example.com,,login:x,never\n", opts)
	if err != nil || report.Kept != 1 || report.Added != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	list, _, err := r.List(register.Filter{}, 0, 10)
	if err != nil || len(list) != 3 || list[0].Evidence != "by hand" || list[1].Source != "crm" ||
		list[1].Reason != register.Unsubscribe || list[1].Expires.IsZero() || !list[2].Expires.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	small := memory(t, register.Config{MaxEntries: 2})
	report, err = importCSV(t, small, "a@example.com\nb@example.com\nc@example.com\n",
		register.ImportOptions{Strict: true})
	if !errors.Is(err, register.ErrFull) || report.Added != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	wantAddresses(t, small)
}

// TestExportRoundTrip: an export gives the same export, whatever is in it.
func TestExportRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := memory(t, learning)
		for _, reason := range register.Reasons() {
			for i, evidence := range []string{
				"", `quotes " and , commas`, "550 5.1.1 no", "=1+1", "\x00\r\n", "ünïcode", `\.`, "'", `"`,
			} {
				for _, scope := range []register.Scope{
					{}, {Kind: register.SenderDomain, Name: "sender.test"}, {Kind: register.Login, Name: "a,b"},
				} {
					s := register.Suppression{
						Address: fmt.Sprintf("u%d%s@example.com", i, reason), Scope: scope, Reason: reason,
						Evidence: evidence, Source: evidence, Created: time.Now().Add(-time.Hour),
					}
					if i%2 == 0 {
						s.Expires, s.Code = time.Now().Add(time.Hour), 550
					}
					suppress(t, r, s)
				}
			}
		}
		suppress(t, r, manual("*@example.org"), manual("*@*.example.org"), manual(`"a,\"b"@example.org`),
			manual("ü@bücher.test"))
		r.Bounced(addr(t, "Gone@example.com"), noSuchUser, time.Now())
		first := export(t, r)
		<-time.After(time.Minute)
		const names = "address,reason,scope,expires,evidence,source,created,reply,bounces\n"
		for _, header := range []string{"", names} {
			again := memory(t, register.Config{})
			report, err := importCSV(t, again, header+first, register.ImportOptions{Strict: true})
			if err != nil || report.Added != report.Rows || report.Skipped != 0 {
				t.Errorf("%+v, %v", report, err)
			}
			if got := export(t, again); got != first {
				t.Errorf("got:\n%s\nwant:\n%s", got, first)
			}
			_ = again.Close()
		}
		_ = r.Close()
	})
}
