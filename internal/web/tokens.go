package web

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Scope is what a token is good for.
type Scope string

// The scopes. None has another in it.
const (
	ScopeRead   Scope = "read"   // look at decisions, suppressions, overrides, senders, the status
	ScopeWrite  Scope = "write"  // change suppressions and overrides, forget, release senders
	ScopeVerify Scope = "verify" // have mail servers asked about addresses
	ScopeAdmin  Scope = "admin"  // end the gate
)

const (
	maxTokensFile = 1 << 20
	maxTokens     = 1000
	// minToken is the least length of a token in characters. From 8 different characters on, as
	// base64 or hexadecimal digits at random have them, nobody guesses it.
	minToken   = 32
	maxToken   = 512
	minVariety = 8
	// tokensEvery is how long a change of the file may go unnoticed.
	tokensEvery = time.Second
)

// token is one line of the file.
type token struct {
	name   string
	scopes []Scope
	sum    [sha256.Size]byte
}

// Tokens are the bearer tokens of a file:
//
//	# name  scopes      token, or sha256: and the hexadecimal digits of its SHA-256
//	dashboard read       sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//	listman   read,write vTq0mN8cJ5xYb2RzK7dWpE4gHs1LfA6uCi9oXtQe
//
// The file is read again when it changes, at the latest a second later. What it says then holds: a
// line with a fault lets nobody in, nor does a file that cannot be read or that others may read.
// The log tells. Safe for concurrent use.
type Tokens struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	list    []token
	read    os.FileInfo // of the file that list comes from; nil: try again
	checked time.Time
	said    string // the fault that the log has
}

// OpenTokens reads a file of tokens; without a path it returns nil. The error is every fault of the
// file, one a line, as "FILE:LINE: problem; fix".
func OpenTokens(path string, log *slog.Logger) (*Tokens, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nil is a file without tokens
	}
	t := &Tokens{path: path, log: log, checked: time.Now()}
	info, data, err := readTokens(path)
	if err != nil {
		return nil, err
	}
	t.read = info
	t.list, err = parseTokens(data)
	if err != nil {
		return nil, t.prefixed(err)
	}
	return t, nil
}

// prefixed puts the file's name before every line of an error.
func (t *Tokens) prefixed(err error) error {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = shown(t.path) + ":" + lines[i]
	}
	return errors.New(strings.Join(lines, "\n"))
}

// readTokens reads a file that others must not read.
func readTokens(path string) (os.FileInfo, []byte, error) {
	fail := func(problem, fix string) (os.FileInfo, []byte, error) {
		return nil, nil, fmt.Errorf("%s: %s; %s", shown(path), problem, fix)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fail("permission denied", "make it readable for the user that runs rcptgate")
	case errors.Is(err, fs.ErrNotExist):
		return fail("no such file", "write the path of the file, such as /etc/rcptgate/tokens")
	case err != nil:
		return fail(err.Error(), "see to the file system")
	case !info.Mode().IsRegular():
		return fail("is not a file", "write the path of a file")
	case info.Mode().Perm()&0o007 != 0:
		return fail(fmt.Sprintf("others may read or change it (mode %04o)", info.Mode().Perm()),
			"take their rights away: chmod o= "+shown(path))
	case info.Size() > maxTokensFile:
		return fail("is larger than 1 MiB", "write a line for each token, and nothing else")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fail("cannot be read", "make it readable for the user that runs rcptgate")
	}
	return info, data, nil
}

// parseTokens reads the lines. The error is about those that are wrong, joined; the others are good.
func parseTokens(data []byte) (list []token, err error) {
	line := 0
	var faults []error
	for text := range bytes.Lines(data) {
		line++
		entry := strings.TrimSpace(string(text))
		if entry == "" || entry[0] == '#' {
			continue
		}
		t, wrong := parseToken(entry)
		for i := range list {
			switch {
			case wrong != nil:
			case list[i].name == t.name:
				wrong = errors.New("the name is that of a line further up; give each token its own")
			case list[i].sum == t.sum:
				wrong = errors.New("the token is that of a line further up; make a new one")
			}
		}
		if wrong == nil && len(list) == maxTokens {
			wrong = fmt.Errorf("there are more than %d tokens; take some out", maxTokens)
		}
		if wrong != nil {
			if len(faults) < 100 {
				faults = append(faults, fmt.Errorf("%d: %w", line, wrong))
			}
			continue
		}
		list = append(list, t)
	}
	return list, errors.Join(faults...)
}

// parseToken reads "name scope[,scope] token". No error holds what might be a token.
func parseToken(entry string) (token, error) {
	fields := strings.Fields(entry)
	if len(fields) != 3 {
		return token{}, fmt.Errorf(`there are %d words; write "name scope,scope token"`, len(fields))
	}
	t := token{name: fields[0]}
	if !isTokenName(t.name) {
		return token{}, errors.New(
			"the first word is no name; write 1 to 64 letters, digits, dots, dashes or underscores")
	}
	for name := range strings.SplitSeq(fields[1], ",") {
		switch scope := Scope(name); scope {
		case ScopeRead, ScopeWrite, ScopeVerify, ScopeAdmin:
			t.scopes = append(t.scopes, scope)
		default:
			return token{}, errors.New(
				"the second word is no list of scopes; write some of read,write,verify,admin")
		}
	}
	if digits, ok := strings.CutPrefix(fields[2], "sha256:"); ok {
		sum, err := hex.DecodeString(digits)
		if err != nil || len(sum) != sha256.Size {
			return token{}, errors.New(
				"behind sha256: are not 64 hexadecimal digits; make them by `printf %s TOKEN | sha256sum`")
		}
		copy(t.sum[:], sum)
		return t, nil
	}
	if err := checkToken(fields[2]); err != nil {
		return token{}, err
	}
	t.sum = sha256.Sum256([]byte(fields[2]))
	return t, nil
}

func isTokenName(s string) bool {
	return len(s) <= 64 && strings.Trim(s,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// checkToken tells whether a token can be sent (RFC 6750 section 2.1) and not be guessed.
func checkToken(s string) error {
	const fix = "make one by `openssl rand -hex 32`"
	seen := map[byte]bool{}
	for i := range len(s) {
		c := s[i]
		seen[c] = true
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~+/=", c) < 0:
			return errors.New("the token has a character that no bearer token may have; " + fix)
		}
	}
	switch {
	case len(s) < minToken || len(s) > maxToken:
		return fmt.Errorf("the token has %d characters, not %d to %d; %s", len(s), minToken, maxToken, fix)
	case len(seen) < minVariety:
		return fmt.Errorf("the token has only %d different characters; %s", len(seen), fix)
	}
	return nil
}

// find returns the token of a request.
func (t *Tokens) find(given string) (found token, ok bool) {
	if t == nil {
		return token{}, false
	}
	sum := sha256.Sum256([]byte(given))
	list := t.current(time.Now())
	// Every one is compared, in a time that does not depend on where they differ.
	at := -1
	for i := range list {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(list[i].sum[:], sum[:]), i, at)
	}
	if at < 0 {
		return token{}, false
	}
	return list[at], true
}

// current returns what the file says now, or said a second ago.
func (t *Tokens) current(now time.Time) []token {
	t.mu.Lock()
	defer t.mu.Unlock()
	if since := now.Sub(t.checked); since >= 0 && since < tokensEvery {
		return t.list
	}
	t.checked = now
	info, err := os.Stat(t.path)
	if err == nil && t.read != nil && os.SameFile(info, t.read) && info.Mode() == t.read.Mode() &&
		info.ModTime().Equal(t.read.ModTime()) && info.Size() == t.read.Size() {
		return t.list
	}
	info, data, err := readTokens(t.path)
	if err != nil {
		t.list, t.read = nil, nil
		t.say(err, "nobody gets in by a token")
		return nil
	}
	t.read = info
	if t.list, err = parseTokens(data); err != nil {
		t.say(t.prefixed(err), "the lines with a fault let nobody in, the others hold")
		return t.list
	}
	t.said = ""
	t.log.Info("api: tokens read again", "file", t.path, "tokens", len(t.list))
	return t.list
}

// say logs a fault of the file, once.
func (t *Tokens) say(err error, consequence string) {
	if text := err.Error(); text != t.said {
		t.said = text
		for line := range strings.Lines(text) {
			t.log.Error("api: tokens", "fault", strings.TrimSuffix(line, "\n"), "consequence", consequence)
		}
	}
}

// shown is text from outside for people.
func shown(s string) string { return string(esmtp.AppendEscaped(nil, s, true)) }
