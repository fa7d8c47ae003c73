package journal

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// TestCommon: entries that come one after the other, of many transactions in turn, have the lines
// that each has alone.
func TestCommon(t *testing.T) {
	var txs []*policy.Transaction
	for i := range 2 * commonOrigins {
		tx := transaction(t)
		tx.ID = fmt.Sprintf("3F2A-%d", i/2)
		txs = append(txs, tx)
	}
	// These differ from one before them in one thing only.
	txs[1].Session = "other"
	txs[3].Door = policy.DoorPolicyd
	txs[5].Client.Addr = netip.MustParseAddr("2001:db8::1")
	txs[7].Client.Name = "other.example.org"
	txs[9].Client.Helo = "other"
	txs[11].Client.Login = ""
	txs[13].Mail.From = esmtp.Address{}
	txs[15].Mail.From = address(t, "news@example.com")
	var decisions []*policy.Decision
	for i := range 40 {
		d := refused(t, fmt.Sprintf("bob%d@example.net", i%3), fmt.Sprintf("REF%d", i%5))
		r := d.Result
		switch i % 10 {
		case 0:
			d = accepted(t, "anna@example.com")
		case 1:
			d.Result = nil
		case 2:
			r.MX = fmt.Sprintf("mx%d.example.net", i)
		case 3:
			r.Verdict, r.Reason, r.Proof = verify.Unknown, verify.Greylisted, false
		case 4:
			r.Reason = verify.MailboxDisabled
		case 5:
			r.Provider = ""
		case 6:
			r.Stage, r.Label = "mail", "other"
		case 7:
			r.CatchAll = true
		case 8:
			r.Confidence, r.Deliverability = float64(i)/97, 1-float64(i)/97
			r.Checked = at.AddDate(0, 0, -i)
		case 9:
			d = shadowed(t, "bob@example.net", "SHADOW")
			d.Marks = []string{"risky"}
		}
		decisions = append(decisions, d)
	}
	for _, mode := range []string{RedactOff, RedactLocal, RedactHash} {
		form := &form{mode: mode, secret: []byte("0123456789abcdef")}
		var f formatter
		f.in(form)
		c, it := newCommon(), new(item)
		for i := range 5000 {
			tx, d := txs[i*i%len(txs)], decisions[i*7%len(decisions)]
			now := at.Add(time.Duration(i) * 7 * time.Hour)
			if i%11 == 0 {
				it.end(c, now, tx, &Message{Outcome: "passed", Reply: ok250})
			} else {
				it.decision(c, now, tx, d, d.Reply, i%2 == 0)
			}
			var alone formatter
			alone.in(form)
			single := new(item)
			if i%11 == 0 {
				single.end(newCommon(), now, tx, &Message{Outcome: "passed", Reply: ok250})
			} else {
				single.decision(newCommon(), now, tx, d, d.Reply, i%2 == 0)
			}
			got, want := string(f.format(it)), string(alone.format(single))
			if got != want {
				t.Fatalf("entry %d\n got %s\nwant %s", i, got, want)
			}
			if it.size() != single.size() || it.refused() != single.refused() {
				t.Fatalf("entry %d: %d octets, refused %v; alone %d, %v", i, it.size(), it.refused(),
					single.size(), single.refused())
			}
		}
	}
}

// FuzzTime: times are what package time makes of them.
func FuzzTime(f *testing.F) {
	f.Add(at.UnixMilli())
	f.Add(int64(zeroTime))
	f.Add(int64(afterTime))
	f.Add(int64(-1))
	f.Fuzz(func(t *testing.T, ms int64) {
		l := lineWriter{b: []byte{'{'}}
		when := time.UnixMilli(ms).UTC()
		for range 2 {
			l.b = l.b[:1]
			l.ms("t", ms)
			want := "{"
			if ms > zeroTime && when.Year() >= 1 && when.Year() <= 9999 {
				want += when.Format(`"t":"2006-01-02T15:04:05.000Z"`)
			}
			if string(l.b) != want {
				t.Fatalf("%d: %s, want %s", ms, l.b, want)
			}
			l.days.of(ms % 4) // another may take the place
		}
	})
}

// TestShares: a share is its number to four digits.
func TestShares(t *testing.T) {
	for n := range 2*tenThousand + 1 {
		f := float64(n) / (2 * tenThousand)
		l := lineWriter{b: []byte{'{'}}
		l.share("s", shareOf(f))
		want := "{"
		if four := float64(int64(f*tenThousand+0.5)) / tenThousand; four > 0 {
			want += fmt.Sprintf(`"s":%v`, four)
			if four < 0.001 {
				want = fmt.Sprintf(`{"s":%.4f`, four)
			}
		}
		if string(l.b) != want {
			t.Errorf("%v: %s, want %s", f, l.b, want)
		}
	}
}

// FuzzLeaves: a text that is said to tell nothing is not cut.
func FuzzLeaves(f *testing.F) {
	f.Add("5.1.1 <bob@example.net> unknown", "bob")
	f.Add("no such user Robert here", "robert")
	f.Add("a b c", "b")
	f.Add("http://x.test/?u=b%40example.net", "bo")
	f.Add("\u00c4pfel \u0130 x\xff", "\u00e4p")
	f.Fuzz(func(t *testing.T, text, local string) {
		rcpt, err := esmtp.ParseAddress(local+"@example.net", true)
		if err != nil {
			t.Skip()
		}
		r := redactor{mode: RedactLocal}
		r.about(rcpt, esmtp.Address{})
		if got := r.words(text); r.leaves([]byte(text)) && (got != text || r.cut(text) != text) {
			t.Errorf("%q is to be left, and becomes %q", text, r.cut(text))
		}
		if got := string(r.appendAddress(nil, rcpt)); got != rcpt.Redacted() {
			t.Errorf("%q, want %q", got, rcpt.Redacted())
		}
	})
}

// TestDecisionAt: the time is that of the answer, to the millisecond.
func TestDecisionAt(t *testing.T) {
	j := open(t, Config{})
	d := refused(t, "bob@example.net", "KX2M7QRT")
	j.DecisionAt(at, transaction(t), d, d.Reply, false)
	e, ok := j.Find("KX2M7QRT")
	if !ok || !e.Time.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("%v at %v, want %v", ok, e.Time, at)
	}
	var none *Journal
	none.DecisionAt(at, transaction(t), d, d.Reply, false)
}
