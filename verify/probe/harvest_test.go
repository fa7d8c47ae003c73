package probe_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify/probe"
)

// TestDictionary: 2000 invented names of one domain cost it 50 questions and one a second, however
// many are asked for at a time; its neighbour and later its real mailboxes are asked for as always.
func TestDictionary(t *testing.T) {
	s, other := site("example.com"), site("example.org")
	s.Hosts[0].Latency = 10 * time.Millisecond
	inBubble(t, probe.Config{}, func(w *world) {
		t := w.t
		start := time.Now()
		var rcpts []string
		for i := range 2000 {
			rcpts = append(rcpts, fmt.Sprintf("n%d@example.com", i))
		}
		refused, limited := 0, 0
		for i := 0; i < len(rcpts); i += 100 {
			for _, out := range w.probeAll(t.Context(), rcpts[i:i+100]...) {
				switch {
				case out.LocalLimit:
					limited++
				case out.Reply.Code == 550:
					refused++
				default:
					t.Fatalf("%+v", out)
				}
			}
			time.Sleep(500 * time.Millisecond)
		}
		// The two sessions may each be one ahead of the count.
		if most := 50 + 2 + int(time.Since(start)/time.Second); refused < 50 || refused > most {
			t.Errorf("%d questions in %v, at most %d", refused, time.Since(start), most)
		}
		if asked := strings.Count(fmt.Sprint(s.Hosts[0].Record()), "RCPT TO:<n"); asked != refused {
			t.Errorf("the host was asked for %d, of %d that it refused", asked, refused)
		}
		w.wantReply(w.probe("anna@example.org"), "rcpt", "250")
		time.Sleep(2 * time.Second)
		w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
		settled()
		w.atMost(2)
		w.polite()
	}, s, other)
}

// TestStaleList: a list of which a third is dead is asked for to its end.
func TestStaleList(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		for i := range 600 {
			name, want := "anna", "250"
			if i%3 == 0 {
				name, want = fmt.Sprintf("n%d", i), "550"
			}
			w.wantReply(w.probe(name+"@example.com"), "rcpt", want)
		}
	}, site("example.com"))
}
