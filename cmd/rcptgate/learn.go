package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/verify/feedback"
)

// learning reads the relay's log while the gate runs, and tells the verifier what became of mail.
// use and end are for one caller; anybody may ask for the status.
type learning struct {
	observe func(feedback.Observation)

	cfg    *config.Config // whose log is read
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	follower *feedback.Follower // nil: none
}

// use reads the log that cfg names, from where the last reader ended. It is called again after a
// reload; the same log is read on.
func (l *learning) use(ctx context.Context, cfg *config.Config, next feedback.Config) error {
	if l.cfg != nil && sameLog(l.cfg, cfg) {
		return nil
	}
	l.end()
	l.cfg = cfg
	if next.Path == "" {
		return nil
	}
	if path := cfg.Verify.Cache.Path; path != "" {
		kept := positionFile(path + ".relay_log")
		next.Load, next.Save = kept.load, kept.save
	}
	follower, err := feedback.New(next)
	if err != nil {
		return err
	}
	ctx, l.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	l.done = done
	l.mu.Lock()
	l.follower = follower
	l.mu.Unlock()
	go func() {
		defer close(done)
		_ = follower.Follow(ctx, l.observe) // never an error: it waits and logs
	}()
	return nil
}

func sameLog(a, b *config.Config) bool {
	same := func(x, y any) bool { return fmt.Sprint(x) == fmt.Sprint(y) }
	return same(a.Verify.Feedback, b.Verify.Feedback) &&
		same(a.Verify.AllowNetworks, b.Verify.AllowNetworks) &&
		a.Verify.Cache.Path == b.Verify.Cache.Path
}

// end returns when the reader has ended and its position is kept.
func (l *learning) end() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	<-l.done
	l.cancel = nil
	l.mu.Lock()
	l.follower = nil
	l.mu.Unlock()
}

// status is how the reader does; ok is false if there is none.
func (l *learning) status() (status feedback.Status, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follower == nil {
		return feedback.Status{}, false
	}
	return l.follower.Status(), true
}

// positionFile keeps the position in the relay's log over restarts.
type positionFile string

func (p positionFile) load() ([]byte, error) {
	position, err := os.ReadFile(string(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return position, err
}

// save replaces the file in one step: a crash leaves the old position or the new one.
func (p positionFile) save(position []byte) error {
	next, err := os.CreateTemp(filepath.Dir(string(p)), filepath.Base(string(p))+".*")
	if err != nil {
		return err
	}
	_, err = next.Write(position)
	err = errors.Join(err, next.Close())
	if err == nil {
		err = os.Rename(next.Name(), string(p))
	}
	if err != nil {
		_ = os.Remove(next.Name())
	}
	return err
}
