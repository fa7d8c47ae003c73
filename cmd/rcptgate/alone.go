package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify/cache"
)

// alone is what a command works on when no gate runs.
type alone struct {
	parts web.Parts
	close func() error
}

// openJournal opens the journal's files, to be read.
func openJournal(cfg *config.Config, _ *slog.Logger) (*alone, error) {
	if cfg.Policy.Journal.Path == "" {
		return nil, failed("no gate answers, and the journal has no file: policy.journal.path is empty",
			"start the gate; for decisions that outlive it, set policy.journal.path")
	}
	// The secret of hashed addresses is for searches by address.
	archive := journal.NewArchive(cfg.JournalConfig(nil))
	return &alone{web.Parts{Archive: archive}, func() error { return nil }}, nil
}

// openState opens the state directory as the gate would, which nobody else can meanwhile.
func openState(cfg *config.Config, log *slog.Logger) (*alone, error) {
	dir, err := openStateDir(cfg)
	if err != nil {
		return nil, err
	}
	// Nothing is learned here.
	list, err := register.Open(dir, register.Config{
		MaxEntries: cfg.Policy.Suppression.MaxEntries, Log: log,
	})
	if err != nil {
		return nil, failed(errors.Join(err, dir.Close()).Error(), "see "+cfg.Policy.StateDirectory)
	}
	table, err := senders.New(cfg.SendersConfig(log), dir)
	if err != nil {
		return nil, failed(errors.Join(err, list.Close(), dir.Close()).Error(),
			"run `rcptgate check-config`")
	}
	return &alone{
		parts: web.Parts{Register: list, Senders: table, Memory: cacheMemory(cfg)},
		close: func() error { return errors.Join(table.Close(), list.Close(), dir.Close()) },
	}, nil
}

// openStateDir opens policy.state_directory, if that leaves it usable for the gate.
func openStateDir(cfg *config.Config) (*durable.Dir, error) {
	path := cfg.Policy.StateDirectory
	if path == "" {
		return nil, failed("no gate answers, and nothing outlives one: policy.state_directory is empty",
			"set policy.state_directory to a directory, such as /var/lib/rcptgate, or http.control_socket")
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failed(
			fmt.Sprintf("no gate answers, and there is no state yet: %s does not exist", path),
			"rcptgate serve makes it at its first start; check policy.state_directory")
	}
	if err != nil {
		return nil, failed(err.Error(), "check policy.state_directory")
	}
	// Files that, say, root leaves there could not be read by the gate.
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		owner := strconv.Itoa(int(stat.Uid))
		if u, err := user.LookupId(owner); err == nil {
			owner = u.Username
		}
		return nil, failed(fmt.Sprintf("no gate answers, and %s belongs to the user %s", path, owner),
			fmt.Sprintf("run this as that user: `sudo -u %s rcptgate ...`", owner))
	}
	dir, err := durable.Open(path)
	if errors.Is(err, durable.ErrLocked) {
		socket := string(cfg.ControlSocket())
		return nil, failed(
			fmt.Sprintf("another process has %s, but nobody answers at its control socket, %s", path, socket),
			"if a gate starts or stops just now, try again; else see that it runs with this "+
				"configuration (http.control_socket)")
	}
	if err != nil {
		return nil, failed(err.Error(), "run this as the user that runs rcptgate")
	}
	return dir, nil
}

// cacheMemory forgets in the cache on disk, which is all that the verifier knows while it does not
// run.
func cacheMemory(cfg *config.Config) web.Memory {
	path := cfg.Verify.Cache.Path
	with := func(fn func(s *cache.Store)) error {
		if path == "" {
			return nil
		}
		s, err := cache.OpenExisting(path, cache.StoreConfig{ReadLimit: time.Minute})
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nothing is known yet
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fn(s)
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		defer cancel()
		return errors.Join(s.Sync(ctx), s.Close(ctx))
	}
	return web.Memory{
		Address: func(a esmtp.Address) error {
			return with(func(s *cache.Store) { s.EraseAddress(s.AddressKey(a)) })
		},
		Domain: func(domain string) error {
			return with(func(s *cache.Store) { s.EraseDomain(domain) })
		},
	}
}
