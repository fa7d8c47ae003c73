package bulk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

func TestWrite(t *testing.T) {
	const answer = "deliverable,mailbox_exists,0.988,0.500,google,mx.example.com,250,2027-01-15T08:00:00Z"
	const syntax = "unknown,syntax,0.000,0.000,,,,"
	semicolons := strings.NewReplacer(",", ";")
	for _, test := range []struct {
		list, want string
		format     Format
	}{
		{
			list:   "id,mail\n1,a@example.com\n\n2,\n",
			want:   "id,mail," + strings.Join(columns(), ",") + "\n1,a@example.com," + answer + "\n2,," + syntax + "\n",
			format: CSV,
		},
		{ // rows of different widths, a mark, CRLF, no line end at the end, a quoted line end
			list: bom + "mail;note\r\na@example.com\r\na@example.com;\"x\ny\";more",
			want: bom + "mail;note;;" + strings.Join(columns(), ";") + "\r\na@example.com;;;" + semicolons.Replace(answer) +
				"\r\na@example.com;\"x\ny\";more;" + semicolons.Replace(answer) + "\r\n",
			format: CSV,
		},
		{ // names that are there already
			list:   "Verdict,mail\nbad,a@example.com\n",
			want:   "Verdict,mail," + strings.Join(prefixed(columns()), ",") + "\nbad,a@example.com," + answer + "\n",
			format: CSV,
		},
		{
			list:   "a@example.com\nnonsense\n",
			want:   "address," + strings.Join(columns(), ",") + "\na@example.com," + answer + "\nnonsense," + syntax + "\n",
			format: CSV,
		},
		{
			list: "mail,na\"me\nA <a@example.com>,\"x\n\",z\n",
			want: `{"input":{"mail":"A <a@example.com>","na\"me":"x\n","column_3":"z"},"address":"a@example.com",` +
				`"verdict":"deliverable","reason":"mailbox_exists","confidence":0.988,"deliverability":0.500,` +
				`"provider":"google","mx":"mx.example.com","reply_code":250,"checked_at":"2027-01-15T08:00:00Z"}` + "\n",
			format: JSONL,
		},
		{
			list: "non@@sense\na@example.com\na@example.com\n",
			want: `{"input":["non@@sense"],"address":"","verdict":"unknown","reason":"syntax","confidence":0.000,` +
				`"deliverability":0.000,"provider":"","mx":"","reply_code":0,"checked_at":""}` + "\n",
			format: JSONL,
		},
	} {
		list, err := Open("-", strings.NewReader(test.list), ListOptions{Spool: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		run, err := Start(list, Config{})
		if err != nil {
			t.Fatal(err)
		}
		run.state.answer(0, Answer{
			Verdict: verify.Deliverable, Reason: verify.MailboxExists, Confidence: 0.9876, Deliverability: 0.5,
			Provider: "google", MX: "mx.example.com", Code: 250, Checked: time.Unix(1_800_000_000, 0),
		})
		var out strings.Builder
		if err := run.Write(&out, test.format); err != nil {
			t.Errorf("%q: %v", test.list, err)
		}
		if got := out.String(); got != test.want && !strings.HasPrefix(test.list, "non@@sense") ||
			!strings.HasPrefix(got, test.want) {
			t.Errorf("%q:\n%s\nwant\n%s", test.list, got, test.want)
		}
		list.Close()
	}
}

// TestSpool: a list from standard input is read as often as it is needed, and leaves nothing behind.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	list, err := Open("-", strings.NewReader("a@example.com\nA@example.com\na@EXAMPLE.com\n"), ListOptions{Spool: dir})
	if err != nil {
		t.Fatal(err)
	}
	if list.Rows != 3 || list.Len() != 2 || list.Duplicates() != 1 || list.Domains() != 1 {
		t.Errorf("%d rows, %d addresses, %d duplicates, %d domains", list.Rows, list.Len(), list.Duplicates(), list.Domains())
	}
	list.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	if _, err := Open(filepath.Join(dir, "none"), nil, ListOptions{}); err == nil || !Usage(err) {
		t.Errorf("a list that is not there: %v", err)
	}
	if _, err := Open(dir, nil, ListOptions{}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
}

// TestAnswer: the words of a mail server cannot leave their column, and every answer is read as it was
// written.
func TestAnswer(t *testing.T) {
	now := time.Unix(1_800_000_000, 123)
	for _, r := range []verify.Result{
		{Verdict: verify.Unknown, Reason: verify.LocalLimit},
		{Verdict: verify.Risky, Reason: verify.AcceptAll, Confidence: 1, Deliverability: 1.0 / 3, Checked: now},
		{Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown, MX: "a\tb\n\x1b[1mÄ", Reply: esmtp.Reply{Code: 550}},
	} {
		a := answerOf(r, now)
		s := newState(1)
		if err := s.take(answerLine(0, &a)); err != nil || s.answers[0] != a {
			t.Errorf("%+v: %+v, %v", a, s.answers[0], err)
		}
	}
}
