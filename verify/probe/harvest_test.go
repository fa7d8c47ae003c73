package probe_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify/probe"
)

// TestDictionary: 2000 invented names of one domain, from 20 clients at a time, cost it 20 questions
// in at most 5 connections, with one warning; its neighbour is asked for as always, and it itself
// again after a while.
func TestDictionary(t *testing.T) {
	for _, group := range []string{"", "example"} {
		s, other := site("example.com"), site("example.org")
		s.Hosts[0].Latency = 10 * time.Millisecond
		var log bytes.Buffer
		cfg := probe.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}
		inBubble(t, cfg, func(w *world) {
			t := w.t
			var rcpts []string
			for i := range 2000 {
				rcpts = append(rcpts, fmt.Sprintf("n%d@example.com", i))
			}
			refused, limited := 0, 0
			for i := 0; i < len(rcpts); i += 20 {
				for _, out := range w.probeGroup(t.Context(), group, rcpts[i:i+20]...) {
					switch {
					case out.LocalLimit:
						limited++
					case out.Reply.Code == 550:
						refused++
					default:
						t.Fatalf("%+v", out)
					}
				}
			}
			record := s.Hosts[0].Record()
			if refused != 20 || limited != 1980 || len(record.Conns) > 5 {
				t.Errorf("%d questions and %d without one in %d connections, want 20 in at most 5",
					refused, limited, len(record.Conns))
			}
			if asked := strings.Count(fmt.Sprint(record), "RCPT TO:<n"); asked != refused {
				t.Errorf("the host was asked for %d, of %d that it refused", asked, refused)
			}
			if n := strings.Count(log.String(), "too many recipients are refused"); n < 1 || n > 2 {
				t.Errorf("%d warnings:\n%s", n, log.String())
			}
			w.wantReply(w.probe("anna@example.org"), "rcpt", "250")
			if !w.probe("anna@example.com").LocalLimit {
				t.Error("asked again at once")
			}
			time.Sleep(10 * time.Minute)
			w.wantReply(w.probe("anna@example.com"), "rcpt", "250")
			settled()
			w.atMost(2)
			w.polite()
		}, s, other)
	}
}

// TestHarvestOfSite: a group is watched as one, however many domains it has.
func TestHarvestOfSite(t *testing.T) {
	s := site("d0.test")
	for i := 1; i < 50; i++ {
		s.Domains = append(s.Domains, fmt.Sprintf("d%d.test", i))
	}
	inBubble(t, probe.Config{}, func(w *world) {
		refused := 0
		for i := range 50 {
			if !w.probeGroup(w.t.Context(), "hoster", fmt.Sprintf("nobody@d%d.test", i))[0].LocalLimit {
				refused++
			}
			settled()
		}
		if refused != 20 {
			w.t.Errorf("%d questions, want 20", refused)
		}
		w.polite()
	}, s)
}

// TestStaleList: a list of which a quarter is dead is asked for to its end, at any speed.
func TestStaleList(t *testing.T) {
	inBubble(t, probe.Config{}, func(w *world) {
		var rcpts []string
		for i := range 600 {
			name := "anna"
			if i%4 == 0 {
				name = fmt.Sprintf("n%d", i)
			}
			rcpts = append(rcpts, name+"@example.com")
		}
		for i, out := range w.probeAll(w.t.Context(), rcpts...) {
			want := "250"
			if i%4 == 0 {
				want = "550"
			}
			w.wantReply(out, "rcpt", want)
		}
		w.atMost(2)
	}, site("example.com"))
}

// TestNoHarvestLimit: it can be lifted, for a list of one's own.
func TestNoHarvestLimit(t *testing.T) {
	cfg := probe.Config{
		Harvest: limit.ShareConfig{Least: -1}, Refusals: -1, RcptPerSession: -1,
	}
	inBubble(t, cfg, func(w *world) {
		for i := range 300 {
			w.wantReply(w.probe(fmt.Sprintf("n%d@example.com", i)), "rcpt", "550")
		}
		if n := len(w.Host("mx.example.com").Record().Conns); n != 1 {
			w.t.Errorf("%d connections", n)
		}
	}, site("example.com", mxsim.Tarpit(mxsim.Quit, 0)))
}
