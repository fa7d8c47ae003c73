package verify_test

import (
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify"
)

// TestRecall: what is known, or why nobody is asked, comes without a wait and without a
// probe; what would have to be asked does not come.
func TestRecall(t *testing.T) {
	inBubble(t, verify.Config{}, func(w *world) {
		for rcpt, want := range map[string]verify.Reason{
			"anna@example.com": "", "nobody@example.com": "", "boss@internal.example.com": verify.InternalDomain,
			"a%b@example.com": verify.NotProbed,
		} {
			r, ok := recall(w, rcpt)
			if ok != (want != "") || r.Reason != want {
				t.Errorf("%s before: %s, %v", rcpt, r.Reason, ok)
			}
		}
		if n := w.asked("mx.example.com"); n != 0 {
			t.Errorf("%d probes", n)
		}
		w.verify("anna@example.com")
		w.verify("nobody@example.com")
		for rcpt, reason := range map[string]verify.Reason{
			"anna@example.com": verify.MailboxExists, "nobody@example.com": verify.MailboxUnknown,
		} {
			r, ok := recall(w, rcpt)
			if !ok || !r.Cached || r.Reason != reason || r.Address.String() != rcpt {
				t.Errorf("%s after: %+v, %v", rcpt, r, ok)
			}
		}
		time.Sleep(2 * time.Hour) // an old proof is asked again in line
		if r, ok := recall(w, "nobody@example.com"); ok {
			t.Errorf("old proof recalled: %+v", r)
		}
	}, site("example.com"))
}

func recall(w *world, rcpt string) (r verify.Result, ok bool) {
	q := w.question(rcpt)
	ok = w.v.Recall(&q, time.Now(), &r)
	return r, ok
}
