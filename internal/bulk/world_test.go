package bulk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/bulk"
	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// world is a simulated internet, and a list to be checked against it.
type world struct {
	*mxsim.World
	t    *testing.T
	dir  string
	list string // the file
	cfg  bulk.Config
}

// inBubble runs f in fake time.
func inBubble(t *testing.T, rows []string, f func(w *world), sites ...*mxsim.Site) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			World: mxsim.New(mxsim.Config{}), t: t, dir: dir, list: filepath.Join(dir, "list"),
			cfg: bulk.Config{
				Journal: filepath.Join(dir, "journal"), Patience: 15 * time.Minute, Grace: 8 * time.Second,
			},
		}
		defer w.Close()
		w.Add(sites...)
		w.write(rows...)
		f(w)
	})
}

func (w *world) write(rows ...string) {
	w.t.Helper()
	if err := os.WriteFile(w.list, []byte(strings.Join(rows, "\n")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// asker is a real verifier with its real limits, as a process has it. end is the end of the process.
func (w *world) asker() (a bulk.Asker, end func()) {
	w.t.Helper()
	names, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: w.DialContext})
	if err != nil {
		w.t.Fatal(err)
	}
	providers, err := provider.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	filter := mx.NewFilter(mx.FilterConfig{})
	hosts := &mx.Resolver{DNS: names, Filter: filter}
	pool := probe.NewPool(probe.Config{Dial: filter.Dial(w.DialContext), Resolver: hosts})
	v := verify.New(verify.Config{
		Helo: "gate.example.org", NoInvented: true, Providers: providers, RcptBudget: 35 * time.Second,
		ProbeTimeout: 30 * time.Second, TemporaryExpire: 30 * time.Second,
	}, hosts, pool)
	return &bulk.VerifierAsker{Verifier: v, Hosts: hosts, Providers: providers}, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = v.Close(ctx)
		_ = pool.Close(ctx)
		names.Close()
	}
}

// outcome is what came of a run.
type outcome struct {
	err      error
	rows     map[string]string // verdict and reason by address
	text     string            // the whole result
	summary  bulk.Summary
	progress bulk.Progress
	took     time.Duration
}

// check is one process that checks the list.
func (w *world) check(ctx context.Context) outcome {
	w.t.Helper()
	list, err := bulk.Open(w.list, nil, bulk.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer list.Close()
	cfg := w.cfg
	ask, end := w.asker() //nolint:contextcheck // a process ends by itself
	defer end()
	cfg.Ask = ask
	start := time.Now()
	run, err := bulk.Start(list, cfg)
	if err != nil {
		return outcome{err: err}
	}
	defer func() {
		if err := run.Close(); err != nil {
			w.t.Error(err)
		}
	}()
	o := outcome{rows: map[string]string{}}
	o.err = run.Run(ctx)
	o.took, o.summary, o.progress = time.Since(start), run.Summary(), run.Progress()
	var out bytes.Buffer
	if err := run.Write(&out, bulk.CSV); err != nil {
		w.t.Fatal(err)
	}
	o.text = out.String()
	for i, line := range strings.Split(strings.TrimSpace(o.text), "\n") {
		if f := strings.Split(line, ","); i > 0 {
			o.rows[f[0]] = f[1] + " " + f[2]
		}
	}
	if o.err == nil {
		if err := run.Remove(); err != nil {
			w.t.Error(err)
		}
		if _, err := os.Stat(cfg.Journal); !errors.Is(err, os.ErrNotExist) {
			w.t.Errorf("the journal is left: %v", err)
		}
	}
	return o
}

// done is check of a run that gets to its end.
func (w *world) done() outcome {
	w.t.Helper()
	o := w.check(w.t.Context())
	if o.err != nil || o.progress.Done != o.progress.All || o.progress.Waiting != 0 {
		w.t.Fatalf("error %v, progress %+v", o.err, o.progress)
	}
	return o
}

// count tells how many rows have an answer.
func (o *outcome) count(answer string) (n int) {
	for _, a := range o.rows {
		if a == answer {
			n++
		}
	}
	return n
}

// asked is how often each address was asked for.
func (w *world) asked() map[string]int {
	n := map[string]int{}
	for _, s := range w.Sites() {
		for _, h := range s.Hosts {
			for _, c := range h.Record().Conns {
				for _, cmd := range c.Commands {
					if path, ok := strings.CutPrefix(cmd.Line, "RCPT TO:<"); ok {
						n[path[:strings.IndexByte(path, '>')]]++
					}
				}
			}
		}
	}
	return n
}

// atMost fails the test if an address was asked for more often.
func (w *world) atMost(most int) {
	w.t.Helper()
	for address, n := range w.asked() {
		if n > most {
			w.t.Errorf("%s was asked for %d times", address, n)
		}
	}
}

// people are mailboxes p0 to p(n-1) of a domain.
func people(domain string, n int) (rows []string) {
	for i := range n {
		rows = append(rows, fmt.Sprintf("p%d@%s", i, domain))
	}
	return rows
}

// site has 1000 people.
func site(domain string, behaviours ...mxsim.Behaviour) *mxsim.Site {
	boxes := map[string]mxsim.Mailbox{}
	for i := range 1000 {
		boxes[fmt.Sprintf("p%d", i)] = mxsim.Active
	}
	return &mxsim.Site{
		Domains: []string{domain}, Mailboxes: boxes, Behaviours: behaviours,
		Hosts: []*mxsim.Host{{Name: "mx." + domain, Pref: 10, Latency: 20 * time.Millisecond}},
	}
}
