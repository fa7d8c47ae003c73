package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	secretA = "0123456789abcdef0123456789abcdef"
	secretB = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-._~+/=="
)

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func tokensFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	writeTokens(t, path, text, mode)
	return path
}

func writeTokens(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestOpenTokens(t *testing.T) {
	path := tokensFile(t, "# the list manager\n\nlistman  read,write\t"+secretA+"\r\n"+
		"dash.board-1_x read "+hashed(secretB)+"\n", 0o640)
	tokens, err := OpenTokens(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]string{
		secretA:              "listman [read write]",
		secretB:              "dash.board-1_x [read]",
		hashed(secretB):      "",
		secretA + "x":        "",
		"":                   "",
		strings.ToUpper("a"): "",
	} {
		got := ""
		if found, ok := tokens.find(secret); ok {
			got = fmt.Sprint(found.name, " ", found.scopes)
		}
		if got != want {
			t.Errorf("%q is %q, not %q", secret, got, want)
		}
	}
	if none, err := OpenTokens("", nil); none != nil || err != nil {
		t.Errorf("without a file: %v, %v", none, err)
	}
	if _, ok := (*Tokens)(nil).find(secretA); ok {
		t.Error("no tokens let somebody in")
	}
}

func TestTokensFaults(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"words":     {"a read\n", `tokens:1: there are 2 words; write "name scope,scope token"`},
		"name":      {"a@b read " + secretA, "tokens:1: the first word is no name; write"},
		"scope":     {"\n#\na read,root " + secretA, "tokens:3: the second word is no list of scopes; write some of read"},
		"empty":     {"a read, " + secretA, "the second word is no list of scopes"},
		"short":     {"a read " + secretA[1:], "the token has 31 characters, not 32 to 512; make one by `openssl rand -hex 32`"},
		"long":      {"a read " + strings.Repeat(secretA, 17), "the token has 544 characters"},
		"monotony":  {"a read " + strings.Repeat("abc", 20), "the token has only 3 different characters"},
		"character": {"a read " + secretA + "%", "a character that no bearer token may have"},
		"hash":      {"a read sha256:abcd", "behind sha256: are not 64 hexadecimal digits"},
		"twice":     {"a read " + secretA + "\na write " + secretB, "tokens:2: the name is that of a line further up"},
		"same":      {"a read " + secretA + "\nb write " + hashed(secretA), "tokens:2: the token is that of a line further up"},
		"all":       {"a\nb\n", "tokens:2: there are 1 words"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenTokens(tokensFile(t, test.text, 0o600), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, not %q", err, test.want)
			}
			for _, secret := range []string{secretA[1:], secretB} {
				if strings.Contains(fmt.Sprint(err), secret) {
					t.Errorf("the fault tells the token: %v", err)
				}
			}
		})
	}
	for name, path := range map[string]string{
		"others may read or change it (mode 0604); take their rights away: chmod o=": tokensFile(t, "", 0o604),
		"no such file; write the path":    filepath.Join(t.TempDir(), "missing"),
		"is not a file":                   t.TempDir(),
		"is larger than 1 MiB":            tokensFile(t, strings.Repeat("#", maxTokensFile+1), 0o600),
		"there are more than 1000 tokens": tokensFile(t, manyTokens(maxTokens+1), 0o600),
	} {
		if _, err := OpenTokens(path, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, not %q", err, name)
		}
	}
}

func manyTokens(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "t%d read %s\n", i, hashed(strconv.Itoa(i)))
	}
	return b.String()
}

// TestTokensChange: what the file says holds a second later, whatever is wrong with it.
func TestTokensChange(t *testing.T) {
	path := tokensFile(t, "a read "+secretA+"\n", 0o600)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tokens, err := OpenTokens(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		holds := func(want ...string) {
			t.Helper()
			var got []string
			for _, secret := range []string{secretA, secretB} {
				if found, ok := tokens.find(secret); ok {
					got = append(got, found.name)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v get in, not %v", got, want)
			}
		}
		said := func(want string) {
			t.Helper()
			if n := strings.Count(log.String(), want); n != 1 {
				t.Errorf("the log has %q %d times:\n%s", want, n, &log)
			}
			log.Reset()
		}
		holds("a")
		writeTokens(t, path, "b write "+secretB+"\n", 0o600)
		holds("a")
		time.Sleep(tokensEvery)
		holds("b")
		said("tokens read again")

		writeTokens(t, path, "a read "+secretA+"\nb "+secretB+"\n", 0o600)
		time.Sleep(tokensEvery)
		holds("a")
		time.Sleep(tokensEvery)
		holds("a")
		said(path + ":2: there are 2 words")

		writeTokens(t, path, "a read "+secretA+"\n", 0o604)
		time.Sleep(tokensEvery)
		holds()
		time.Sleep(tokensEvery)
		holds()
		said("others may read or change it")

		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(tokensEvery)
		holds("a")
		log.Reset()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(tokensEvery)
		holds()
		said("no such file")
		writeTokens(t, path, "b write "+secretB+"\n", 0o600)
		time.Sleep(tokensEvery)
		holds("b")
	})
}

// FuzzTokens: whoever gets in has a line that says so, no fault tells a token, and the good lines
// alone are the same tokens.
func FuzzTokens(f *testing.F) {
	f.Add([]byte("# c\na read,write " + secretA + "\nb read " + hashed(secretB) + "\n"))
	f.Add([]byte("a read " + secretA + "\r\n\r\na write " + secretA))
	f.Add([]byte("x admin " + secretA))
	f.Add([]byte("\x00\xff read " + secretB + "\n\tb\u00a0read\v" + secretB))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseTokens(data)
		var lines []string
		for text := range strings.Lines(string(data)) {
			lines = append(lines, strings.TrimSpace(text))
		}
		var good strings.Builder
		for _, token := range list {
			i := slices.IndexFunc(lines, func(line string) bool {
				words := strings.Fields(line)
				return len(words) == 3 && words[0] == token.name && line[0] != '#' &&
					words[1] == joined(token.scopes) &&
					(strings.EqualFold(words[2], "sha256:"+hex.EncodeToString(token.sum[:])) ||
						len(words[2]) >= minToken && sha256.Sum256([]byte(words[2])) == token.sum)
			})
			if i < 0 || len(token.scopes) == 0 {
				t.Fatalf("token %q with scopes %v stands nowhere", token.name, token.scopes)
			}
			fmt.Fprintln(&good, lines[i])
		}
		again, fault := parseTokens([]byte(good.String()))
		if fault != nil || !slices.EqualFunc(again, list, func(a, b token) bool {
			return a.name == b.name && a.sum == b.sum && slices.Equal(a.scopes, b.scopes)
		}) {
			t.Fatalf("the good lines alone: %v, %v, not %v", again, fault, list)
		}
		for _, line := range lines {
			words := strings.Fields(line)
			if err != nil && len(words) == 3 && len(words[2]) >= minToken &&
				strings.Contains(err.Error(), words[2]) {
				t.Fatalf("a fault tells a token: %v", err)
			}
		}
	})
}

func joined(scopes []Scope) string {
	names := make([]string, len(scopes))
	for i, scope := range scopes {
		names[i] = string(scope)
	}
	return strings.Join(names, ",")
}

func FuzzSpan(f *testing.F) {
	for _, seed := range []string{"7d", "1w2d3h", "30m", "", "d", "-1h", "1d-1h", "99999w", "1h1d", "+5s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Span
		if err := s.UnmarshalText([]byte(text)); err != nil {
			if s != 0 {
				t.Errorf("%q is a fault, and %v", text, time.Duration(s))
			}
			return
		}
		again, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Span
		if err := back.UnmarshalText(again); s < 0 || err != nil || back != s {
			t.Errorf("%q is %v, written %s, read %v, %v", text, time.Duration(s), again, time.Duration(back), err)
		}
	})
}
