package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/cache"
)

func newCacheCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache lookup|forget|stats|export|import",
		Short: "Look after the verdicts that are remembered",
		Long: `Cache looks at what is remembered of addresses and domains, and forgets it. While a gate runs,
lookup, forget and stats ask it over its control socket. Without one they work on the file
that verify.cache.path names, and so do export and import, for which the gate must be
stopped.

The keys of the file are HMACs with the secret in PATH.secret: an address can be looked for,
but not read out. The names of mail servers, and what they replied without the address, are
in clear.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(fmt.Sprintf("rcptgate cache has no %q", args[0]),
					"run `rcptgate cache --help`")
			}
			return usageError("nothing to do with the cache given", "run `rcptgate cache --help`")
		},
	}
	cmd.AddCommand(newCacheLookupCmd(), newCacheForgetCmd(), newCacheExportCmd(), newCacheImportCmd(),
		newCacheStatsCmd())
	return cmd
}

// cachePath is that of the cache that a configuration names.
func cachePath(name string) (string, error) {
	cfg, err := loadConfig(name)
	if err != nil {
		return "", err
	}
	if cfg.Verify.Cache.Path == "" {
		return "", noCache(cfg)
	}
	return cfg.Verify.Cache.Path, nil
}

func noCache(cfg *config.Config) error {
	return usageError(cfg.Name()+": there is no cache on disk: verify.cache.path is empty",
		"set it to a file, such as /var/lib/rcptgate/verdicts.db")
}

// withCache runs fn with the cache that a configuration names, and sees to it that what fn changed is
// on disk.
func withCache(
	cmd *cobra.Command, name string, fn func(ctx context.Context, s *cache.Store) error,
) error {
	path, err := cachePath(name)
	if err != nil {
		return err
	}
	s, err := cache.OpenExisting(path, cache.StoreConfig{ReadLimit: time.Minute})
	if err != nil {
		return cacheFailure(path, err)
	}
	return useCache(cmd, s, fn)
}

func useCache(
	cmd *cobra.Command, s *cache.Store, fn func(ctx context.Context, s *cache.Store) error,
) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := fn(ctx, s)
	if err == nil {
		err = s.Sync(ctx)
	}
	if err = errors.Join(err, s.Close(context.WithoutCancel(ctx))); err == nil {
		return nil
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return failed(fmt.Sprintf("%s: %v", s.Path(), err), "")
}

// cacheFailure says why a cache cannot be opened, and what to do.
func cacheFailure(path string, err error) error {
	hint := "check verify.cache.path, and that you may read and write the file (run this as the user of rcptgate)"
	switch {
	case errors.Is(err, cache.ErrLocked):
		hint = "stop the gate first (systemctl stop rcptgate): while it runs, it alone may change its " +
			"cache. To look up, to forget and to count, it can be asked by its control socket " +
			"(policy.state_directory, http.control_socket)"
	case errors.Is(err, fs.ErrNotExist):
		hint = "rcptgate serve begins a cache at its first start; check verify.cache.path"
	}
	return failed(fmt.Sprintf("%s: %v", path, err), hint)
}

func newCacheForgetCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "forget --config FILE ADDRESS|DOMAIN...",
		Short: "Forget addresses, or whole domains",
		Long: `Forget removes what is kept of addresses or of whole domains, for the next mail to ask anew.
What was never known counts as forgotten. While a gate runs, it forgets at once.`,
		Example: "  rcptgate cache forget --config rcptgate.toml someone@example.com example.org",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("no address or domain given", "name what to forget")
			}
			names, err := parseForgotten(args)
			if err != nil {
				return err
			}
			done, err := withGate(cmd, path, func(c *controller) error {
				return forgetOverSocket(c, cmd.OutOrStdout(), names)
			})
			if done || err != nil {
				return err
			}
			return withCache(cmd, path, func(ctx context.Context, s *cache.Store) error {
				lines := make([]string, len(names))
				for i, name := range names {
					lines[i] = name.forget(s)
				}
				if err := s.Sync(ctx); err != nil {
					return err
				}
				for _, line := range lines {
					writef(cmd.OutOrStdout(), "%s\n", line)
				}
				return nil
			})
		},
	}
	configFlag(cmd, &path, "the gate's configuration")
	return cmd
}

// forgotten is an address or a domain.
type forgotten struct {
	address esmtp.Address // null for a domain
	domain  string
}

func parseForgotten(args []string) ([]forgotten, error) {
	names := make([]forgotten, len(args))
	for i, arg := range args {
		text := arg
		whole := !strings.Contains(arg, "@")
		if whole {
			text = "x@" + arg // for the rules of domains, and their A-labels
		}
		a, err := esmtp.ParseAddress(text, true)
		if err != nil {
			return nil, usageError(fmt.Sprintf("%q is neither an address nor a domain: %v", arg, err),
				"write user@example.com, or example.com for all of a domain")
		}
		names[i] = forgotten{address: a, domain: a.ASCIIDomain()}
		if whole {
			names[i].address = esmtp.Address{}
		}
	}
	return names, nil
}

// forget tells what it did.
func (f forgotten) forget(s *cache.Store) string {
	if !f.address.IsNull() {
		key := s.AddressKey(f.address)
		_, known := s.Get(cache.Verdicts, key[:])
		s.EraseAddress(key)
		if !known {
			return f.address.String() + ": was not known"
		}
		return f.address.String() + ": forgotten"
	}
	n, prefix := 0, s.DomainKey(f.domain)
	s.Range(cache.Verdicts, prefix[:], func(_, _ []byte, _ time.Time) bool { n++; return true })
	s.EraseDomain(f.domain)
	return fmt.Sprintf("%s: forgotten, with %d of its addresses", f.domain, n)
}

func newCacheStatsCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "stats --config FILE",
		Short: "Count what the cache holds",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			done, err := withGate(cmd, path, func(c *controller) error {
				return statsOverSocket(c, cmd.OutOrStdout())
			})
			if done || err != nil {
				return err
			}
			return withCache(cmd, path, func(_ context.Context, s *cache.Store) error {
				printCacheStats(cmd, s)
				return nil
			})
		},
	}
	configFlag(cmd, &path, "the gate's configuration")
	return cmd
}

func printCacheStats(cmd *cobra.Command, s *cache.Store) {
	out := cmd.OutOrStdout()
	reasons := make(map[string]int)
	total, first, last := 0, time.Time{}, time.Time{}
	verify.EachSaved(s, func(x verify.Saved) bool {
		total++
		reasons[fmt.Sprintf("%s, %s", x.Verdict, x.Reason)]++
		if first.IsZero() || x.Expire.Before(first) {
			first = x.Expire
		}
		if x.Expire.After(last) {
			last = x.Expire
		}
		return true
	})
	stats := s.Stats()
	writef(out, "%-24s %s\n", "path", s.Path())
	writef(out, "%-24s %s\n", "secret id", s.SecretID())
	writef(out, "%-24s %d octets, %d in use\n", "size", stats.Size, stats.Used)
	writef(out, "%-24s %d that hold\n", "verdicts", total)
	names := make([]string, 0, len(reasons))
	for name := range reasons {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		writef(out, "  %-40s %d\n", name, reasons[name])
	}
	if total > 0 {
		writef(out, "%-24s %s\n", "first expires", first.Format(time.RFC3339))
		writef(out, "%-24s %s\n", "last expires", last.Format(time.RFC3339))
	}
	for _, b := range cache.Buckets() {
		if b != cache.Verdicts {
			writef(out, "%-24s %d\n", b, stats.Entries[b])
		}
	}
}
