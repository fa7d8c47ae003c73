package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/bulk"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

const (
	good        = "deliverable mailbox_exists"
	gone        = "undeliverable mailbox_unknown"
	interrupted = "unknown interrupted"
)

// TestTurns: a slow site that comes first in the list does not hold up the others, and each address is
// asked for once, duplicates included.
func TestTurns(t *testing.T) {
	rows := people("slow.example.com", 150)
	for i := range 20 {
		rows = append(rows, people(fmt.Sprintf("d%d.example.com", i), 20)...)
	}
	rows = append(rows, rows[:50]...)
	sites := []*mxsim.Site{site("slow.example.com", mxsim.Tarpit(mxsim.Rcpt, 2*time.Second))}
	for i := range 20 {
		sites = append(sites, site(fmt.Sprintf("d%d.example.com", i)))
	}
	inBubble(t, rows, func(w *world) {
		o := w.done()
		if len(o.rows) != 550 || o.count(good) != 550 || strings.Count(o.text, "\n") != 601 {
			w.t.Errorf("%d of %d are good", o.count(good), len(o.rows))
		}
		w.atMost(1)
		last := func(s *mxsim.Site) (at time.Time) {
			for _, c := range s.Hosts[0].Record().Conns {
				for _, cmd := range c.Commands {
					if cmd.Stage == mxsim.Rcpt && cmd.At.After(at) {
						at = cmd.At
					}
				}
			}
			return at
		}
		slow := last(sites[0])
		for _, s := range sites[1:] {
			if wait := slow.Sub(last(s)); wait < o.took/2 {
				w.t.Errorf("%s had to wait: it ended only %v before the slow site, of %v", s.Domains[0], wait, o.took)
			}
		}
	}, sites...)
}

// TestPace: a list is asked for at the rate of its site, to its end, and no limit is run into.
func TestPace(t *testing.T) {
	inBubble(t, people("example.com", 800), func(w *world) {
		o := w.done()
		if o.count(good) != 800 || len(o.summary.GivenUp) != 0 {
			w.t.Errorf("%d are good; %+v", o.count(good), o.summary)
		}
		// 200 at once, then 120 a minute.
		if least := 5 * time.Minute; o.took < least-time.Second || o.took > least+time.Minute {
			w.t.Errorf("it took %v, want about %v", o.took, least)
		}
		w.atMost(1)
	}, site("example.com"))
}

func TestGreylisted(t *testing.T) {
	for _, patience := range []time.Duration{0, 15 * time.Minute} {
		want := map[time.Duration]string{0: "unknown greylisted", 15 * time.Minute: good}[patience]
		inBubble(t, people("example.com", 30), func(w *world) {
			w.cfg.Patience = patience
			o := w.done()
			if o.count(want) != 30 {
				w.t.Errorf("patience %v: %v", patience, o.rows)
			}
			w.atMost(2)
			if o.took > patience+time.Second {
				w.t.Errorf("it took %v", o.took)
			}
		}, site("example.com", mxsim.Greylist(5*time.Minute)))
	}
}

// TestOnceMore: who could not be asked for a reason that may pass is asked once more in the end, and
// never twice.
func TestOnceMore(t *testing.T) {
	once := mxsim.Once(mxsim.Refuse(mxsim.Rcpt, "451 4.3.0 try again later"))
	inBubble(t, []string{"p1@example.com", "p1@example.org"}, func(w *world) {
		o := w.done()
		if o.rows["p1@example.com"] != good || o.rows["p1@example.org"] != "unknown temporary" {
			w.t.Errorf("%v", o.rows)
		}
		if n := w.asked(); n["p1@example.com"] != 2 || n["p1@example.org"] != 2 {
			w.t.Errorf("asked %v", n)
		}
	}, site("example.com", once), site("example.org", mxsim.Refuse(mxsim.Rcpt, "451 4.3.0 try again later")))
}

// TestHarvest: of a domain with made-up names nobody is asked about after the first ones, and its
// neighbour is, on the same hosts or not.
func TestHarvest(t *testing.T) {
	var rows []string
	for i := range 300 {
		rows = append(rows, fmt.Sprintf("x%d@example.com", i))
	}
	rows = append(rows, people("example.org", 60)...)
	inBubble(t, rows, func(w *world) {
		o := w.done()
		if o.count(gone) > 30 || o.count(gone)+o.count("unknown local_limit") != 300 || o.count(good) != 60 {
			w.t.Errorf("%d gone, %d not asked, %d good", o.count(gone), o.count("unknown local_limit"), o.count(good))
		}
		if !slices.Equal(o.summary.Stopped, []string{"example.com"}) || len(o.summary.GivenUp) != 0 {
			w.t.Errorf("%+v", o.summary)
		}
		w.atMost(1)
	}, site("example.com"), site("example.org"))
}

// TestStaleList: a domain of which a quarter is gone is asked for to its end.
func TestStaleList(t *testing.T) {
	var rows []string
	for i := range 240 {
		name := "p"
		if i%4 == 0 {
			name = "gone"
		}
		rows = append(rows, fmt.Sprintf("%s%d@example.com", name, i))
	}
	inBubble(t, rows, func(w *world) {
		o := w.done()
		if o.count(gone) != 60 || o.count(good) != 180 || len(o.summary.Stopped) != 0 {
			w.t.Errorf("%d gone, %d good; %+v", o.count(gone), o.count(good), o.summary)
		}
		w.atMost(1)
	}, site("example.com"))
}

// TestBlocked: a site that refuses our address is not asked for each of its addresses, and the others
// are.
func TestBlocked(t *testing.T) {
	s := site("example.com", mxsim.Refuse(mxsim.Connect, "554 5.7.1 your address is listed"))
	inBubble(t, append(people("example.com", 200), people("example.org", 20)...), func(w *world) {
		o := w.done()
		if o.count("unknown blocked_ip") != 200 || o.count(good) != 20 {
			w.t.Errorf("%v", o.rows)
		}
		if !slices.Equal(o.summary.GivenUp, []string{"mx.example.com"}) {
			w.t.Errorf("given up %v", o.summary.GivenUp)
		}
		if n := len(s.Hosts[0].Record().Conns); n > 8 {
			w.t.Errorf("%d connections", n)
		}
	}, s, site("example.org"))
}

// TestCutOff: where no mail server can be reached nobody is called unknown for it, and the run ends.
func TestCutOff(t *testing.T) {
	var rows []string
	var sites []*mxsim.Site
	for i := range 300 {
		s := site(fmt.Sprintf("d%d.example.com", i))
		s.Hosts[0].State = mxsim.BlackHole
		sites = append(sites, s)
		rows = append(rows, fmt.Sprintf("p1@d%d.example.com", i))
	}
	inBubble(t, rows, func(w *world) {
		o := w.check(w.t.Context())
		if !errors.Is(o.err, bulk.ErrCutOff) || o.took > 40*time.Minute {
			w.t.Errorf("error %v after %v", o.err, o.took)
		}
		if o.count("unknown breaker") != 0 {
			w.t.Errorf("%d are unknown, breaker", o.count("unknown breaker"))
		}
	}, sites...)
}

// TestStopAndResume: a run that is stopped in peace again and again gives what one run gives, and
// nobody is asked twice.
func TestStopAndResume(t *testing.T) {
	var rows []string
	var sites []*mxsim.Site
	for i := range 10 {
		domain := fmt.Sprintf("d%d.example.com", i)
		s := site(domain)
		s.Hosts[0].Latency = 200 * time.Millisecond
		sites = append(sites, s)
		rows = append(rows, people(domain, 40)...)
		rows = append(rows, "gone@"+domain, "x@null.example.com", fmt.Sprintf("x%d@nx%d.example.com", i, i%3))
	}
	sites = append(sites, &mxsim.Site{Domains: []string{"null.example.com"}, DNS: mxsim.DNSConfig{NullMX: true}})
	inBubble(t, rows, func(w *world) {
		stops := 0
		var o outcome
		for {
			ctx, cancel := context.WithTimeout(w.t.Context(), 700*time.Millisecond)
			o = w.check(ctx)
			cancel()
			if o.err == nil {
				break
			}
			if stops++; !errors.Is(o.err, bulk.ErrStopped) || stops > 50 {
				w.t.Fatal(o.err)
			}
			if o.took > 9*time.Second {
				w.t.Errorf("it took %v to stop", o.took)
			}
		}
		if stops < 2 || o.progress.Lost != 0 {
			w.t.Errorf("stopped %d times, %d lost", stops, o.progress.Lost)
		}
		if o.count(good) != 400 || o.count(gone) != 10 || o.count("undeliverable domain_unknown") != 10 ||
			o.count("undeliverable null_mx") != 1 {
			w.t.Errorf("%d good, %d gone of %d", o.count(good), o.count(gone), len(o.rows))
		}
		w.atMost(1)
	}, sites...)
}

// TestLost: a question that was under way when the run was cut off is not asked again, unless that is
// wanted.
func TestLost(t *testing.T) {
	for _, again := range []bool{false, true} {
		inBubble(t, people("example.com", 20), func(w *world) {
			w.cfg.Grace = 0 // nothing that is under way may end
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
			defer cancel()
			if o := w.check(ctx); !errors.Is(o.err, bulk.ErrStopped) || o.count(good) != 0 {
				w.t.Fatalf("%v, %v", o.err, o.rows)
			}
			w.cfg.AskLost = again
			o := w.done()
			lost, seen := o.progress.Lost, w.asked()
			if lost == 0 || lost > 8 {
				w.t.Errorf("%d lost", lost)
			}
			if again && o.count(good) != 20 || !again && (o.count(good) != 20-lost || o.count(interrupted) != lost) {
				w.t.Errorf("ask again %t: %v", again, o.rows)
			}
			if !again {
				w.atMost(1)
			}
			if len(seen) == 0 {
				w.t.Error("nobody was asked")
			}
		}, site("example.com", mxsim.Tarpit(mxsim.Rcpt, 3*time.Second)))
	}
}

// TestOtherList: a journal is for one list with one set of options.
func TestOtherList(t *testing.T) {
	inBubble(t, people("example.com", 3), func(w *world) {
		ctx, cancel := context.WithCancel(w.t.Context())
		cancel()
		w.cfg.Options = "format csv"
		if o := w.check(ctx); !errors.Is(o.err, bulk.ErrStopped) {
			w.t.Fatal(o.err)
		}
		w.cfg.Options = "format jsonl"
		if o := w.check(ctx); o.err == nil || !bulk.Usage(o.err) ||
			!strings.Contains(o.err.Error(), "other options: format csv, now format jsonl") {
			w.t.Errorf("error %v", o.err)
		}
		w.cfg.Options = "format csv"
		w.write(people("example.com", 4)...)
		if o := w.check(ctx); o.err == nil || !bulk.Usage(o.err) || !strings.Contains(bulk.Hint(o.err), "--restart") {
			w.t.Errorf("error %v, hint %q", o.err, bulk.Hint(o.err))
		}
		w.cfg.Restart = true
		if o := w.done(); o.count(good) != 4 {
			w.t.Errorf("%v", o.rows)
		}
	}, site("example.com"))
}

// TestChanged: a list that was changed meanwhile is not written with the answers of another one.
func TestChanged(t *testing.T) {
	inBubble(t, people("example.com", 3), func(w *world) {
		list, err := bulk.Open(w.list, nil, bulk.ListOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		defer list.Close()
		run, err := bulk.Start(list, bulk.Config{})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, rows := range [][]string{people("example.org", 3), people("example.com", 5), people("example.com", 2)} {
			w.write(rows...)
			var out strings.Builder
			if err := run.Write(&out, bulk.CSV); !errors.Is(err, bulk.ErrChanged) {
				w.t.Errorf("%v: %v", rows, err)
			}
		}
		if err := os.Remove(w.list); err != nil {
			w.t.Fatal(err)
		}
	})
}
