package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/cache"
)

// openCache opens the cache on disk to be looked at, when no gate answers.
func openCache(cfg *config.Config, _ *slog.Logger) (*alone, error) {
	path := cfg.Verify.Cache.Path
	if path == "" {
		return nil, noCache(cfg)
	}
	s, err := cache.OpenExisting(path, cache.StoreConfig{ReadLimit: time.Minute})
	if err != nil {
		return nil, cacheFailure(path, err)
	}
	memory := web.Memory{
		Look: func(a esmtp.Address) (verify.Remembered, bool) { return verify.LookSaved(s, a) },
		LookDomain: func(_ context.Context, domain string) verify.RememberedDomain {
			return verify.LookSavedDomain(s, domain)
		},
	}
	return &alone{web.Parts{Memory: memory}, func() error { return s.Close(context.Background()) }}, nil
}

// withGate runs fn with the gate that runs; done is false, and nothing was done, if none answers.
func withGate(
	cmd *cobra.Command, path string, fn func(c *controller) error,
) (done bool, err error) {
	done = true
	err = withControl(cmd, path, func(*config.Config, *slog.Logger) (*alone, error) {
		done = false
		return nil, failed("no gate answers", "") // nobody sees it
	}, fn)
	if !done {
		return false, nil
	}
	return true, err
}

func newCacheLookupCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "lookup --config FILE ADDRESS|DOMAIN...",
		Short: "Show what is remembered of addresses, or of domains",
		Long: `Lookup shows the remembered verdict of an address, how old it is and until when it holds, and
what is known of its domain: the probability that it accepts every address, and what that
goes by. Nobody is asked but, by a running gate, DNS.`,
		Example: "  rcptgate cache lookup --config rcptgate.toml someone@example.com example.org",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("no address or domain given", "name what to look up")
			}
			names, err := parseForgotten(args)
			if err != nil {
				return err
			}
			return withControl(cmd, path, openCache, func(c *controller) error {
				for _, name := range names {
					found, err := name.lookUp(c)
					if err != nil {
						return err
					}
					printLookedUp(cmd.OutOrStdout(), found)
				}
				return nil
			})
		},
	}
	configFlag(cmd, &path, "the gate's configuration")
	return cmd
}

func (f forgotten) lookUp(c *controller) (found web.LookedUp, err error) {
	asked := web.LookUp{Domain: f.domain}
	if !f.address.IsNull() {
		asked = web.LookUp{Address: f.address.String()}
	}
	err = c.ask("POST", "/v1/cache/lookup", asked, &found)
	return found, err
}

func printLookedUp(out io.Writer, found web.LookedUp) {
	line := func(name, format string, args ...any) {
		writef(out, "  %-16s %s\n", name, escaped(fmt.Sprintf(format, args...)))
	}
	if found.Address != "" {
		writef(out, "%s\n", escaped(found.Address))
		if m := found.Mailbox; m == nil {
			line("verdict", "nothing is remembered")
		} else {
			line("verdict", "%s: %s (confidence %.2f)", m.Verdict, reasonText(verify.Reason(m.Reason)),
				m.Confidence)
			line("learnt", "%s, %s ago, in the %s", dateOf(m.Stored),
				roundTime(time.Duration(m.Age)*time.Second), m.Tier)
			line("holds until", "%s, asked again from %s on", dateOf(m.Expires), dateOf(m.Refresh))
			if m.Reply != "" {
				line("reply", "%s: %s", m.MX, m.Reply)
			}
		}
		if found.Arrived != nil {
			line("mail arrived", "%s", dateOf(found.Arrived.Time))
		}
	}
	d := found.Domain
	writef(out, "%s\n", escaped(d.Domain))
	if d.Provider != "" {
		line("provider", "%s", d.Provider)
	}
	for _, host := range d.MX {
		line("mail server", "%d %s", host.Preference, host.Name)
	}
	if d.DNS != "" {
		line("mail server", "%s", d.DNS)
	}
	line("in the file", "%s", counted(d.Mailboxes, "verdict", "verdicts"))
	f := d.Facts
	if f == nil {
		line("behaviour", "nothing is remembered")
		return
	}
	line("accepts all", "%.0f %%, by %d accepted since the last refusal and %d of %d invented", 100*f.AcceptsAll,
		f.Accepted, f.Invented, f.Tries)
	if !f.Refused.IsZero() {
		line("last refused", "%s", dateOf(f.Refused))
	}
	if f.Late > 0 || f.Arrived > 0 {
		line("deliveries", "%d arrived, %d refused after the message", f.Arrived, f.Late)
	}
}

// forgetOverSocket has the gate forget, and tells what it did as if there were none.
func forgetOverSocket(c *controller, out io.Writer, names []forgotten) error {
	for _, name := range names {
		found, err := name.lookUp(c)
		if err != nil {
			return err
		}
		asked := web.Named{Kind: "domain", Name: name.domain}
		line := fmt.Sprintf("%s: forgotten, with %d of its addresses", name.domain, found.Domain.Mailboxes)
		if !name.address.IsNull() {
			asked = web.Named{Kind: "address", Name: name.address.String()}
			line = asked.Name + ": forgotten"
			if found.Mailbox == nil {
				line = asked.Name + ": was not known"
			}
		}
		var done web.Forgotten
		if err := c.ask("POST", "/v1/forget", asked, &done); err != nil {
			return err
		}
		writef(out, "%s\n", escaped(line))
	}
	return nil
}

func statsOverSocket(c *controller, out io.Writer) error {
	var n web.CacheCounts
	if err := c.ask("GET", "/v1/cache", nil, &n); err != nil {
		return err
	}
	line := func(name, format string, args ...any) {
		writef(out, "%-24s %s\n", name, escaped(fmt.Sprintf(format, args...)))
	}
	m := n.Memory
	line("memory", "%d deliverable, %d undeliverable, %d unknown", m.Deliverable, m.Undeliverable, m.Unknown)
	line("memory limit", "%d octets, %d evicted so far", m.Limit, m.Evicted)
	line("domains in memory", "%d", m.Domains)
	line("deliveries in memory", "%d", m.Deliveries)
	line("hits", "%d in memory, %d in the file", n.Hits.Memory, n.Hits.File)
	line("misses", "%d", n.Misses)
	f := n.File
	if f == nil {
		line("file", "none (verify.cache.path)")
		return nil
	}
	line("path", "%s", f.Path)
	line("state", "%s", f.Detail)
	line("secret id", "%s", f.SecretID)
	line("size", "%d octets, %d in use, %d at most", f.Octets, f.Used, f.Limit)
	line("dropped", "%d", f.Dropped)
	for _, bucket := range slices.Sorted(maps.Keys(f.Entries)) {
		line(bucket, "%d", f.Entries[bucket])
	}
	return nil
}

// cacheCounts is what the cache of a running gate holds.
func (s *service) cacheCounts() web.CacheCounts {
	held := s.gate.parts().verification.verifier.Stats()
	n := web.CacheCounts{Memory: web.CacheMemory{
		Deliverable: held.Deliverable, Undeliverable: held.Undeliverable, Unknown: held.Unknown,
		Domains: held.Domains, Deliveries: held.Histories, Limit: held.Octets, Evicted: held.Evicted,
	}, Hits: web.CacheHits{File: held.StoreHits}}
	store := s.gate.store
	if store == nil {
		return n
	}
	cfg, _, _ := s.health.configuration()
	stats := store.Stats()
	n.File = &web.CacheFile{
		Path: store.Path(), SecretID: store.SecretID(), Octets: stats.Size, Used: stats.Used,
		Limit: int64(cfg.Verify.Cache.MaxSize), Dropped: stats.Dropped, Entries: make(map[string]int64),
	}
	n.File.OK, n.File.Detail = store.Status()
	for _, b := range cache.Buckets() {
		n.File.Entries[b.String()] = stats.Entries[b]
	}
	return n
}
