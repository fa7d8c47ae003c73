package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// trouble is why a Store runs without its file; the zero value is none.
type trouble struct {
	kind string // what is logged once, until it changes
	text string // for people
	fix  string
}

// troubleOf gives an error its words. doing is "open" or "write".
func troubleOf(err error, doing string) trouble {
	kind := func(fix string) trouble {
		return trouble{kind: doing + ": " + err.Error(), text: "cannot " + doing + " it: " + err.Error(), fix: fix}
	}
	switch {
	case errors.Is(err, ErrLocked):
		return kind("a cache belongs to one process: stop the other one, or set another verify.cache.path")
	case errors.Is(err, errForeign):
		return kind("verify.cache.path must name a file of its own; nothing was changed")
	case errors.Is(err, errSlow):
		return kind("look after the disk")
	case noRoom(err):
		return kind("make room on the disk")
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return kind("the user of rcptgate must be able to write the file, PATH.secret and their directory")
	case errors.Is(err, fs.ErrNotExist):
		return kind("create the directory, for the user of rcptgate (systemd: StateDirectory=rcptgate)")
	}
	return kind("correct this; rcptgate tries again by itself")
}

// noRoom also reads the text: bbolt does not wrap what growing a file brings.
func noRoom(err error) bool {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, no) || strings.Contains(err.Error(), no.Error()) {
			return true
		}
	}
	return false
}

// report takes down the trouble that there is, or that there is none any more, and logs a change.
func (s *Store) report(t trouble) {
	s.mu.Lock()
	before := s.trouble
	s.trouble = t
	s.mu.Unlock()
	switch t.kind {
	case before.kind:
	case "":
		s.cfg.Log.Info("the verdict cache on disk is in use again", "path", s.path)
	default:
		s.cfg.Log.Warn("trouble with the verdict cache on disk; mail goes on, verdicts may not survive a restart",
			"path", s.path, "error", t.text, "fix", t.fix)
	}
}

// Status tells whether the file is in use, and if not why and what to do, for people. A nil Store is
// fine: memory only was asked for.
func (s *Store) Status() (ok bool, detail string) {
	if s == nil {
		return true, "memory only"
	}
	s.mu.Lock()
	t := s.trouble
	s.mu.Unlock()
	if t.kind != "" {
		return false, s.path + ": " + t.text + "; " + t.fix
	}
	if s.file.Load() == nil {
		return false, s.path + ": not open"
	}
	return true, s.path + ": in use"
}

// open tries to open the file, and returns when to try again if that fails.
func (s *Store) open(now time.Time) time.Time {
	f, err := s.openOrBegin(now)
	if err == nil {
		s.adopt(f)
		s.report(trouble{})
		return time.Time{}
	}
	s.report(troubleOf(err, "open"))
	switch {
	case errors.Is(err, ErrLocked):
		return now.Add(retryLocked)
	case errors.Is(err, errCorrupt): // again, right after one was put aside
		return now.Add(retryCorrupt)
	}
	return now.Add(retryOther)
}

// openOrBegin opens the file, or puts aside what cannot be used and begins another.
func (s *Store) openOrBegin(now time.Time) (*file, error) {
	hadSecret, err := s.secure()
	if err != nil {
		return nil, err
	}
	f, err := openFile(s.path, s.keys.id())
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, errCorrupt), errors.Is(err, errForeign) && hadSecret:
		// Whose first pages are gone bears no sign of bbolt any more: the secret beside it tells that
		// it was ours.
		err = s.aside("corrupt", err, now)
	case errors.Is(err, errNewer):
		err = s.aside("newer", err, now)
	case errors.Is(err, errOtherSecret):
		err = s.aside("other-secret", err, now)
	}
	if err != nil {
		return nil, err
	}
	return openFile(s.path, s.keys.id())
}

// secure makes sure that the keys are those of the secret's file, and tells whether there was one. Keys
// that were given out already stay as they are.
func (s *Store) secure() (had bool, err error) {
	secret, made, err := ensureSecret(SecretPath(s.path), s.keys.secret[:])
	first := !s.fixed
	s.fixed = true
	switch {
	case err != nil:
		return false, err
	case string(secret) == string(s.keys.secret[:]):
	case !first:
		return false, fmt.Errorf("%s has changed: restart rcptgate", SecretPath(s.path))
	default:
		s.keys = newKeys(secret)
	}
	return !made, nil
}

// aside renames a file that cannot be used, and says so.
func (s *Store) aside(why string, cause error, now time.Time) error {
	name := s.path + "." + why + "-" + now.UTC().Format("20060102T150405.000Z")
	if err := os.Rename(s.path, name); err != nil {
		return errors.Join(cause, err)
	}
	s.cfg.Log.Warn("the verdict cache cannot be used; a new one is begun, and verdicts are learnt anew",
		"path", s.path, "error", cause.Error(), "renamed_to", name,
		"fix", "remove the renamed file when it is of no more use; if this goes on, look after the disk")
	s.keepFew(why)
	return nil
}

// keepAside is how many files of one kind are kept aside, the newest ones: they may be large.
const keepAside = 2

func (s *Store) keepFew(why string) {
	// The only error is a bad pattern, and a path with special characters matches nothing here.
	names, _ := filepath.Glob(s.path + "." + why + "-*")
	slices.Sort(names) // by time
	for _, name := range names[:max(0, len(names)-keepAside)] {
		_ = os.Remove(name) // it stays, then
	}
}

// bury ends a file that has died, and returns when to open the next.
func (s *Store) bury(f *file, now time.Time) time.Time {
	s.file.CompareAndSwap(f, nil)
	if there, err := os.Stat(s.path); err == nil && os.SameFile(there, f.info) {
		if err = s.aside("corrupt", f.fault, now); err != nil {
			s.report(troubleOf(err, "open"))
		}
	} else {
		s.cfg.Log.Warn("the verdict cache was removed or replaced while it was in use; it is opened anew",
			"path", s.path, "fix", "stop rcptgate before you move its cache")
	}
	_ = f.close() // its descriptor: nothing else of it is touched again
	s.buried = append(s.buried, now)
	if n := len(s.buried); n > maxCorrupt {
		s.buried = s.buried[n-maxCorrupt:]
		if again := s.buried[0].Add(retryCorrupt); now.Before(again) {
			s.report(troubleOf(fmt.Errorf("%w, and so were %d before it", errCorrupt, maxCorrupt), "open"))
			return again
		}
	}
	return now
}

// openExisting is for commands. It changes nothing but what it opens.
func (s *Store) openExisting() (*file, error) {
	if _, err := os.Stat(s.path); err != nil {
		return nil, fmt.Errorf("there is no cache yet: %w", err)
	}
	secret, err := readSecret(SecretPath(s.path))
	if err != nil {
		return nil, fmt.Errorf("the cache cannot be read without its secret: %w", err)
	}
	s.keys, s.fixed = newKeys(secret), true
	return openFile(s.path, s.keys.id())
}
